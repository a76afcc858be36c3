"""OPA's compliance cases on regorus: every miss is named, and none is silent in a pack that we would load.

The reason of a miss is computed, not written by hand: from the builtins and constructs that our loader
refuses, or from the engine's own error. ``expected_misses.json`` commits to the number of each.
Run with ``MC_CONFORMANCE_UPDATE=1`` to write it anew.
"""

import functools
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import regorus

from mc_pipelines.decision.builtins import PROVEN_BY_CASES
from mc_pipelines.decision.engine import trim_error
from mc_pipelines.decision.portability import refusals
from mc_pipelines.decision.regorus_engine import is_panic
from mc_pipelines.decision.syntax import Module, RegoSyntaxError, builtin_calls, parse

EXPECTED = Path(__file__).parent / "expected_misses.json"


@dataclass(frozen=True)
class Outcome:
    note: str
    category: str
    agrees: bool
    silent: bool
    """It gave another answer, and no error."""
    reason: str
    accepted: bool
    """Our loader would take the modules."""
    builtins: frozenset[str]


def cases(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("*.json")):
        for case in json.loads(path.read_text())["cases"]:
            yield path.stem, case


def answer(case: dict[str, Any]) -> tuple[list[Any] | None, str | None]:
    native = regorus.Engine()
    try:
        for number, module in enumerate(case.get("modules", ())):
            native.add_policy(f"{number}.rego", module)
        native.add_data_json(json.dumps(case.get("data") or {}))
        query = case["query"]
        if "input_term" in case:
            # A term may be no JSON (a set in it): hand it over in Rego's own words.
            query = f"{query} with input as {case['input_term']}"
        elif "input" in case:
            native.set_input_json(json.dumps(case["input"]))
        found = json.loads(native.eval_query_as_json(query)).get("result", [])
        return [row["bindings"] for row in found], None
    except Exception as error:  # noqa: BLE001 - whatever it raises is the engine's answer
        return None, trim_error(str(error).rsplit("error:", 1)[-1])
    except BaseException as error:
        if not is_panic(error):
            raise
        return None, "panic"


def comparable(rows: list[Any], *, sort_bindings: bool) -> list[str]:
    """Rows in no order; with ``sort_bindings`` the arrays in them are sets in disguise."""

    def ordered(value: Any) -> Any:
        if isinstance(value, list) and sort_bindings:
            return sorted((ordered(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
        return value

    return sorted(json.dumps({key: ordered(item) for key, item in row.items()}, sort_keys=True) for row in rows)


def refused(case: dict[str, Any]) -> tuple[str | None, frozenset[str]]:
    """Why our loader would not take the modules, and which builtins they call."""
    try:
        parsed = [parse(Module(f"{number}.rego", text)) for number, text in enumerate(case.get("modules", ()))]
    except RegoSyntaxError as error:
        return f"syntax: {error.extensions['reason']}", frozenset()
    called = frozenset(call.name for _, _, call in builtin_calls(parsed))
    found = refusals(parsed)
    return (f"refused: {found[0].name} {found[0].why}" if found else None), called


def judge(category: str, case: dict[str, Any]) -> Outcome:
    rows, problem = answer(case)
    why, called = refused(case)
    sort_bindings = bool(case.get("sort_bindings"))
    if "want_result" not in case:
        agrees = problem is not None
    else:
        agrees = rows is not None and comparable(rows, sort_bindings=sort_bindings) == comparable(
            case["want_result"], sort_bindings=sort_bindings
        )
    silent = not agrees and problem is None
    reason = "" if agrees else why or f"error verdict: {problem}"
    return Outcome(case["note"], category, agrees, silent, reason, why is None, called)


@functools.cache
def outcomes_of(folder: Path) -> tuple[Outcome, ...]:
    return tuple(judge(category, case) for category, case in cases(folder))


@pytest.fixture(scope="module")
def outcomes(data_dir) -> tuple[Outcome, ...]:
    return outcomes_of(data_dir / "policy" / "rego-conformance")


def test_every_miss_is_named_with_its_reason(outcomes):
    misses = [
        {"case": f"{outcome.category}: {outcome.note}", "reason": outcome.reason, "silent": outcome.silent}
        for outcome in outcomes
        if not outcome.agrees
    ]
    if os.environ.get("MC_CONFORMANCE_UPDATE"):
        document = {"cases": len(outcomes), "agree": sum(outcome.agrees for outcome in outcomes), "misses": misses}
        EXPECTED.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    expected = json.loads(EXPECTED.read_text())
    assert len(outcomes) == expected["cases"] == 920
    assert sum(outcome.agrees for outcome in outcomes) == expected["agree"]
    assert misses == expected["misses"]


def test_no_silent_wrong_answer_in_what_the_loader_takes(outcomes):
    assert [outcome.note for outcome in outcomes if outcome.accepted and outcome.silent] == []
    assert sum(outcome.accepted for outcome in outcomes) > 500, "refusing everything would be no proof"


def test_the_list_of_proven_builtins_is_proven(outcomes):
    called = Counter(name for outcome in outcomes if outcome.agrees for name in outcome.builtins)
    silent = {name for outcome in outcomes if outcome.silent for name in outcome.builtins}
    assert [name for name in sorted(PROVEN_BY_CASES) if not called[name]] == []
    assert sorted(PROVEN_BY_CASES & silent) == []
