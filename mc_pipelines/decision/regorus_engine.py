"""Rego in process, by regorus (the wheel gordon-to-regorus).

What there is to know about it, all measured:

* its objects belong to the thread that made them; any use elsewhere panics. So engines live in a
  ``threading.local`` of this module: each thread builds its own and drops it when the thread ends;
* a panic arrives as ``PanicException``, a BaseException that ``except Exception`` misses;
* there is no evaluation timeout and the GIL is held meanwhile: only packs that passed the guard (no
  unbounded iteration over input) belong here, others go to an OPA server or a process one can kill;
* builtins it does not know fail only when reached; :mod:`mc_pipelines.decision.packs` refuses them at load.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from importlib.metadata import version
from typing import Any

import orjson
import regorus

from mc_pipelines.decision.engine import UNDEFINED, Verdict, check_query, trim_error
from mc_pipelines.decision.latency import observed
from mc_pipelines.decision.packs import Pack
from mc_pipelines.foundation.errors import InputError

_KEPT_PER_THREAD = 8
"""Engines a thread keeps: the active and the last known good revision of each pack, 29 kB each."""
_UNDEFINED_JSON = '"<undefined>"'

_of_thread = threading.local()


class RegorusEngine:
    """Evaluates one pack in this process; safe to share between threads, each has its own native engine.

    Args:
        pack: what is evaluated; it never changes and calls nothing but functions of its input, so a value may be kept.
        remember: how many values are kept, by rule and input; an error is never kept.
    """

    def __init__(self, pack: Pack, *, remember: int = 0) -> None:
        self.pack = pack
        self.name = f"regorus {version('gordon-to-regorus')}"
        self._remember = remember
        self._known: dict[tuple[str, bytes], bytes] = {}

    def evaluate(self, query: str, input_document: Any) -> Verdict:
        """Evaluate a rule; see :class:`mc_pipelines.decision.engine.PolicyEngine`."""
        check_query(query)
        try:
            document = orjson.dumps(input_document)
        except (TypeError, ValueError) as error:
            raise InputError(f"The input is not JSON: {error}", field="input") from error
        begun = time.perf_counter_ns()
        known = self._known.get((query, document))
        if known is None:
            value, problem = self._evaluate(query, document.decode())
            if problem is None and self._remember:
                self._keep(query, document, value)
        else:
            value, problem = orjson.loads(known), None
        return observed(self.pack.name, Verdict(value, problem, time.perf_counter_ns() - begun))

    def _keep(self, query: str, document: bytes, value: Any) -> None:
        if len(self._known) >= self._remember:
            self._known.clear()
        self._known[query, document] = orjson.dumps(value)

    def _evaluate(self, query: str, document: str) -> tuple[Any, str | None]:
        try:
            native = self._native()
            native.set_input_json(document)
            answer = native.eval_rule_as_json(query)
            if answer == _UNDEFINED_JSON:
                # A rule may have this very string as its value; only the slower query can tell.
                return _query(native, query)
            return orjson.loads(answer), None
        except Exception as error:  # noqa: BLE001 - whatever the engine raises is a verdict
            return None, trim_error(error)
        except BaseException as error:
            if not is_panic(error):
                raise
            _engines().pop(self.pack.revision, None)
            return None, f"the engine panicked: {trim_error(error)}"

    def _native(self) -> Any:
        kept = _engines()
        native = kept.get(self.pack.revision)
        if native is None:
            native = build_native(self.pack)
            kept[self.pack.revision] = native
            while len(kept) > _KEPT_PER_THREAD:
                kept.popitem(last=False)
        return native


def build_native(pack: Pack) -> Any:
    """Return a new native engine, bound to the calling thread, with the pack's modules and data."""
    native = regorus.Engine()
    for module in pack.modules:
        native.add_policy(module.path, module.text)
    native.add_data_json(json.dumps({pack.name: pack.data}))
    return native


def is_panic(error: BaseException) -> bool:
    """Tell a Rust panic (pyo3_runtime.PanicException, which cannot be imported) from a real BaseException."""
    return type(error).__name__ == "PanicException"


def _engines() -> OrderedDict[str, Any]:
    kept: OrderedDict[str, Any] | None = getattr(_of_thread, "engines", None)
    if kept is None:
        kept = _of_thread.engines = OrderedDict()
    return kept


def _query(native: Any, query: str) -> tuple[Any, str | None]:
    rows = orjson.loads(native.eval_query_as_json(query)).get("result", [])
    if not rows:
        return None, UNDEFINED
    return rows[0]["expressions"][0]["value"], None
