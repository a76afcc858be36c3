"""An OPA server over its REST Data API (openpolicyagent.org, "REST API", section "Data API").

Builtin errors are made strict in every request: by default OPA turns them into *undefined*, and a deny
rule that errs would then silently allow. The server's bundle revision is compared with ours in every
answer, so that a replica that still serves an older bundle yields an error and not an old decision.
"""

from __future__ import annotations

import time
from typing import Any

import httpx
import orjson

from mc_pipelines.decision.engine import UNDEFINED, Verdict, check_query, trim_error
from mc_pipelines.decision.latency import observed
from mc_pipelines.decision.packs import Pack
from mc_pipelines.foundation.errors import InputError

TIMEOUT_SECONDS = 1.0
"""A decision is worth 50 ms; a server that needs a second counts as down."""


class OpaEngine:
    """Asks an OPA server that has loaded the pack's bundle.

    Args:
        url: base address, such as ``http://127.0.0.1:8181``.
        pack: whose revision the answers must come from.
        transport: another httpx transport; tests put their own here.
        check_revision: compare the bundle's revision; off for servers started on plain folders.
    """

    def __init__(
        self,
        url: str,
        pack: Pack,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        check_revision: bool = True,
    ) -> None:
        self.pack = pack
        self.name = "opa"
        self._check_revision = check_revision
        self._client = httpx.Client(base_url=url, transport=transport, timeout=timeout_seconds)

    def evaluate(self, query: str, input_document: Any) -> Verdict:
        """Evaluate a rule; see :class:`mc_pipelines.decision.engine.PolicyEngine`."""
        path = check_query(query).split(".")[1:]
        try:
            body = orjson.dumps({"input": input_document})
        except (TypeError, ValueError) as error:
            raise InputError(f"The input is not JSON: {error}", field="input") from error
        begun = time.perf_counter_ns()
        value, problem = self._ask("/".join(path), body)
        return observed(self.pack.name, Verdict(value, problem, time.perf_counter_ns() - begun))

    def _ask(self, path: str, body: bytes) -> tuple[Any, str | None]:
        try:
            response = self._client.post(
                f"/v1/data/{path}",
                params={"strict-builtin-errors": "true", "provenance": "true"},
                content=body,
                headers={"content-type": "application/json"},
            )
            document = orjson.loads(response.content)
        except httpx.HTTPError as error:
            return None, f"the OPA server does not answer: {type(error).__name__} {error}"
        except ValueError:
            return None, f"the OPA server answered {response.status_code} without JSON"
        problem = self._problem(response.status_code, document)
        return (None, problem) if problem is not None else (document["result"], None)

    def _problem(self, status: int, document: Any) -> str | None:
        if not isinstance(document, dict):
            return f"the OPA server answered {status} with no object"
        if status != httpx.codes.OK:
            return _error_of(status, document)
        stale = self._stale(document)
        if stale is not None:
            return stale
        return None if "result" in document else UNDEFINED

    def _stale(self, document: dict[str, Any]) -> str | None:
        if not self._check_revision:
            return None
        bundles = document.get("provenance", {}).get("bundles", {})
        revisions = sorted(str(bundle.get("revision", "")) for bundle in bundles.values())
        if self.pack.revision in revisions:
            return None
        return f"the OPA server serves revision {', '.join(revisions) or 'none'}, not {self.pack.revision}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _error_of(status: int, document: dict[str, Any]) -> str:
    details = []
    for error in document.get("errors", []):
        location = error.get("location", {})
        details.append(f"{location.get('file', '')}:{location.get('row', '')}: {error.get('message')}")
    return trim_error(f"OPA {status} {document.get('code', '')}: {'; '.join(details) or document.get('message', '')}")
