"""A time-stamping authority of `openssl ts` behind HTTP, for tests."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIGURATION = """
[tsa]
dir = .
serial = ./serial
crypto_device = builtin
signer_cert = ./tsa.pem
signer_key = ./tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = yes
ess_cert_id_alg = sha256
"""
EXTENSIONS = "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\n"


@dataclass(frozen=True)
class Authority:
    """Where it is asked, and its root certificate."""

    url: str
    root: bytes
    folder: Path


def openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def authority(folder: Path) -> Iterator[Authority]:
    """Make a root, a stamping certificate, and a server that answers queries with `openssl ts -reply`."""
    folder.mkdir(parents=True)
    (folder / "tsa.cnf").write_text(CONFIGURATION)
    (folder / "tsa.ext").write_text(EXTENSIONS)
    (folder / "serial").write_text("01\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        folder, "req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Test root", "-days", "2"
    )
    openssl(folder, "req", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Test TSA")
    sign = ("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial")
    openssl(folder, *sign, "-days", "2", "-extfile", "tsa.ext", "-out", "tsa.pem")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            with tempfile.TemporaryDirectory(dir=folder) as work:
                asked, answer = Path(work) / "query.tsq", Path(work) / "answer.tsr"
                asked.write_bytes(query)
                reply = ("ts", "-reply", "-config", "tsa.cnf", "-section", "tsa")
                openssl(folder, *reply, "-queryfile", str(asked), "-out", str(answer))
                content = answer.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Authority(f"http://127.0.0.1:{server.server_address[1]}", (folder / "root.pem").read_bytes(), folder)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
