"""Pairs: harm, widening, changed reasons and errors, each counted once."""

import pytest

from mc_pipelines.decision.engine import Verdict
from mc_pipelines.decision.packs import load_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.policy.evidence import Pair, Widening, compare, count, evaluate_pair

DIGEST = Digest("sha256:" + "d" * 64)


def denial(rule: str, candidate: str = "AWS/us-east-1") -> dict[str, str]:
    return {"rule": rule, "candidate": candidate, "why": "w", "fix": "f"}


def pair(old: Verdict, new: Verdict, workflow: str = "w") -> Pair:
    return compare(old, new, tenant="acme", workflow=workflow, input_digest=DIGEST)


def value(*denials: dict[str, str]) -> Verdict:
    return Verdict(list(denials))


def test_harm_and_widening_of_different_candidates_in_one_decision():
    found = pair(value(denial("region", "A/1")), value(denial("quota", "B/2")))
    assert found.newly_denied == {"B/2"}
    assert found.newly_allowed == {("A/1", frozenset({"region"}))}
    assert not found.reasons_changed


def test_changed_reasons_are_neither():
    found = pair(value(denial("region")), value(denial("region"), denial("quota")))
    assert found.reasons_changed
    assert not found.newly_denied
    assert not found.newly_allowed


@pytest.mark.parametrize("broken", [Verdict(None, "boom"), Verdict("yes"), Verdict({"a": 1})])
def test_no_value_denies(broken):
    found = pair(value(), broken)
    assert found.newly_denied == {""}
    assert found.error is (not broken.defined)
    recovered = pair(broken, value())
    assert recovered.undeclared(())
    assert not recovered.undeclared([Widening("error")])


@pytest.mark.parametrize(
    ("declared", "undeclared"),
    [
        ((), True),
        ((Widening("region"),), True),
        ((Widening("region"), Widening("quota")), False),
        ((Widening("region"), Widening("quota", "acme")), False),
        ((Widening("region"), Widening("quota", "globex")), True),
    ],
)
def test_every_rule_that_stopped_denying_must_be_declared(declared, undeclared):
    assert pair(value(denial("region"), denial("quota")), value()).undeclared(declared) is undeclared


def test_a_retry_counts_once():
    harmful = pair(value(), value(denial("quota")))
    other = pair(value(), value(denial("quota")), workflow="x")
    counted = count([harmful, harmful, harmful, other], ())["acme"]
    assert (counted.decisions, counted.harmed, counted.denied_new, counted.denied_old) == (2, 2, 2, 0)


def test_slow_is_of_the_new_pack():
    slow = Verdict([], None, 50_000_001)
    assert pair(value(), slow).slow
    assert not pair(slow, value()).slow


def test_real_engines_pair():
    engine = RegorusEngine(load_pack("storage"))
    found = evaluate_pair(engine, engine, "data.storage.deny", {"kind": "log"}, tenant="acme", workflow="w")
    assert found.denied_old
    assert found.denied_new
    assert not found.newly_denied
