"""Serves a witness over HTTP: ``POST /add-checkpoint`` of C2SP tlog-witness, and its verifier key at ``GET /``."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mc_pipelines.attest.witness import COSIGNED, MALFORMED, MAX_REQUEST_BYTES, OTHER_SIZE, Answer, Witness
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.logs import get_logger

_BROKEN, _NO_SUCH = 500, 404
_SIZE_TYPE = "text/x.tlog.size"
_log = get_logger(__name__)


def witness_server(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that is bound and ready for ``serve_forever``; port 0 takes any free one."""

    class Handler(BaseHTTPRequestHandler):
        """Reads one request, asks the witness, writes its answer."""

        timeout = 10

        def do_GET(self) -> None:
            found = self.path == "/"
            self._answer(Answer(COSIGNED, f"{witness.key}\n") if found else Answer(_NO_SUCH, "No such resource."))

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint":
                self._answer(Answer(_NO_SUCH, "No such resource."))
            elif not length.isdecimal() or int(length) > MAX_REQUEST_BYTES:
                self._answer(Answer(MALFORMED, "The request has no length, or is too large."))
            else:
                self._answer(self._ask(self.rfile.read(int(length))))

        def _ask(self, request: bytes) -> Answer:
            try:
                answer = witness.add_checkpoint(request)
            except (MaestroError, OSError) as error:
                _log.error("witness.failed", error=str(error))
                return Answer(_BROKEN, "The witness cannot read or write its memory.")
            _log.info("witness.asked", status=answer.status, detail=answer.text.strip()[:200])
            return answer

        def _answer(self, answer: Answer) -> None:
            content = answer.text.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", _SIZE_TYPE if answer.status == OTHER_SIZE else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Leave logging to the structured log."""

    return ThreadingHTTPServer((host, port), Handler)
