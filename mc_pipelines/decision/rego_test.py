"""Runs Rego unit tests on regorus: every rule whose name begins with ``test_``, with line coverage."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import regorus

from mc_pipelines.decision.engine import trim_error
from mc_pipelines.decision.packs import Pack
from mc_pipelines.decision.regorus_engine import is_panic
from mc_pipelines.decision.syntax import Module, parse


@dataclass(frozen=True)
class TestResult:
    """The outcome of one test rule."""

    __test__ = False
    name: str
    """``data.<package>.<rule>``."""
    file: str
    line: int
    outcome: str
    """``pass`` | ``fail`` | ``error``."""
    message: str
    elapsed_ns: int


@dataclass(frozen=True)
class TestReport:
    """All outcomes, and the lines of the modules that no test reached."""

    __test__ = False
    results: tuple[TestResult, ...]
    covered: int
    uncovered: dict[str, tuple[int, ...]]

    @property
    def ok(self) -> bool:
        """Whether there was at least one test and all passed."""
        return bool(self.results) and all(result.outcome == "pass" for result in self.results)

    @property
    def coverage(self) -> float:
        """The share of coverable lines that a test reached, 0 to 1."""
        missed = sum(len(lines) for lines in self.uncovered.values())
        return self.covered / (self.covered + missed) if self.covered + missed else 0.0


def run_pack_tests(pack: Pack) -> TestReport:
    """Run the tests of a pack on its modules and data."""
    return run_tests(pack.modules, pack.tests, {pack.name: pack.data})


def run_tests(modules: Iterable[Module], tests: Iterable[Module], data: dict[str, Any]) -> TestReport:
    """Run all tests.

    Raises:
        RegoSyntaxError: a test module is not Rego v1.
    """
    modules, tests = tuple(modules), tuple(tests)
    native = regorus.Engine()
    for module in (*modules, *tests):
        native.add_policy(module.path, module.text)
    native.add_data_json(json.dumps(data))
    native.set_enable_coverage(True)
    names = {
        (f"data.{parsed.package}.{rule.name}", test.path, rule.line)
        for test in tests
        for parsed in (parse(test),)
        for rule in parsed.rules
        if rule.name.startswith("test_")
    }
    results = tuple(_run(native, *name) for name in sorted(names, key=lambda name: name[1:]))
    return TestReport(results, *_coverage(native, {module.path for module in modules}))


def _run(native: Any, name: str, file: str, line: int) -> TestResult:
    begun = time.perf_counter_ns()
    try:
        native.set_input_json("{}")
        rows = json.loads(native.eval_query_as_json(name)).get("result", [])
        passed = bool(rows) and rows[0]["expressions"][0]["value"] is True
        outcome, message = ("pass", "") if passed else ("fail", "not true")
    except Exception as error:  # noqa: BLE001 - whatever the engine raises is an outcome
        outcome, message = "error", trim_error(error)
    except BaseException as error:
        if not is_panic(error):
            raise
        outcome, message = "error", f"the engine panicked: {trim_error(error)}"
    return TestResult(name, file, line, outcome, message, time.perf_counter_ns() - begun)


def _coverage(native: Any, measured: set[str]) -> tuple[int, dict[str, tuple[int, ...]]]:
    covered, uncovered = 0, {}
    for entry in json.loads(native.get_coverage_report_as_json())["files"]:
        if entry["path"] in measured:
            covered += len(entry["covered"])
            if entry["not_covered"]:
                uncovered[entry["path"]] = tuple(entry["not_covered"])
    return covered, uncovered
