"""What may be called enforced: only what was tried and held, by a mechanism that was there."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.executions.fact_schema import FaultOwner
from mc_pipelines.executions.records import State
from mc_pipelines.runner.attempt import meaning
from mc_pipelines.runner.driver import Egress, End, Work
from mc_pipelines.runner.sandbox.commands import Mechanism
from mc_pipelines.runner.sandbox.judgement import judge, nothing_enforced
from mc_pipelines.runner.sandbox.process import _missing
from mc_pipelines.runner.sandbox.spec import Probes, Spec

WORK = Work(UUID(int=1), ("true",))
HELD = Probes([], [], [], [], [], {"root": "r", "reads": "d", "network": "n", "seccomp": "filter"}, [])
LEAKS = {
    "write_leaks": "read_only_root",
    "read_leaks": "file_reads",
    "network_leaks": "egress",
    "limit_leaks": "limits",
    "privilege_leaks": "privileges",
}


def test_what_held_is_enforced_by_what_did_it() -> None:
    enforcement = judge(HELD, WORK, Mechanism.NAMESPACES)
    assert all(control["enforced"] for control in enforcement.document().values())
    assert (enforcement.read_only_root.mechanism, enforcement.egress.mechanism) == ("r", "n")
    assert "seccomp" in enforcement.privileges.mechanism


@pytest.mark.parametrize(("leak", "control"), LEAKS.items())
def test_one_leak_sinks_its_control_and_no_other(leak: str, control: str) -> None:
    enforcement = judge(replace(HELD, **{leak: ["it got out"]}), WORK, Mechanism.BUBBLEWRAP)
    for name in LEAKS.values():
        found = getattr(enforcement, name)
        assert found.enforced is (name != control)
    sunk = getattr(enforcement, control)
    assert sunk.evidence == "it got out"
    assert sunk.mend


@pytest.mark.parametrize(
    ("key", "control"), [("root", "read_only_root"), ("reads", "file_reads"), ("network", "egress")]
)
def test_a_probe_that_found_no_leak_proves_nothing_without_a_mechanism(key: str, control: str) -> None:
    without = {name: how for name, how in HELD.mechanisms.items() if name != key}
    found = getattr(judge(replace(HELD, mechanisms=without), WORK, Mechanism.LANDLOCK), control)
    assert (found.enforced, found.mechanism) == (False, "none")


def test_an_open_network_is_never_called_enforced() -> None:
    found = judge(HELD, replace(WORK, egress=Egress.OPEN), Mechanism.NAMESPACES).egress
    assert (found.enforced, found.mechanism) == (False, "none")


def test_privileges_that_could_not_be_dropped_are_not_enforced_and_stop_the_command() -> None:
    probes = replace(HELD, failures=["privileges: capset: Operation not permitted"])
    enforcement = judge(probes, WORK, Mechanism.LANDLOCK)
    assert not enforcement.privileges.enforced
    assert "could not be dropped" in _missing(WORK, enforcement, probes)


@pytest.mark.parametrize(
    ("leak", "changes", "words"),
    [
        ("write_leaks", {}, "a read-only root is needed and not enforced: it got out"),
        ("network_leaks", {}, "no egress is allowed and that is not enforced: it got out"),
        (None, {"egress": Egress.IP}, "an egress allow-list by ip is not enforced"),
        (None, {"egress": Egress.FQDN}, "an egress allow-list by fqdn is not enforced"),
        (None, {}, ""),
        ("write_leaks", {"needs_read_only_root": False}, ""),
        ("network_leaks", {"egress": Egress.OPEN}, ""),
    ],
)
def test_a_command_begins_only_where_what_it_needs_holds(
    leak: str | None, changes: dict[str, object], words: str
) -> None:
    work = replace(WORK, **changes)  # type: ignore[arg-type]
    probes = HELD if leak is None else replace(HELD, **{leak: ["it got out"]})
    found = _missing(work, judge(probes, work, Mechanism.NAMESPACES), probes)
    assert words in found if words else found == ""


def test_what_never_began_enforced_nothing_and_the_refusal_is_ours() -> None:
    enforcement = nothing_enforced(Mechanism.NAMESPACES, "unshare: Operation not permitted")
    assert not any(control["enforced"] for control in enforcement.document().values())
    assert meaning(End.REFUSED, enforcement) == (State.FAILED, FaultOwner.PROVIDER)
    asked_too_much = judge(HELD, replace(WORK, egress=Egress.FQDN), Mechanism.NAMESPACES)
    assert meaning(End.REFUSED, asked_too_much) == (State.FAILED, FaultOwner.CUSTOMER)


@given(
    st.builds(
        Probes,
        *(st.lists(st.text()) for _ in range(5)),
        st.dictionaries(st.text(), st.text()),
        st.lists(st.text()),
    )
)
def test_a_report_arrives_as_it_was_written(probes: Probes) -> None:
    content = probes.to_json()
    assert content.count(b"\n") == 1
    assert Probes.from_json(content) == probes


def test_a_spec_arrives_as_it_was_written() -> None:
    spec = Spec("namespaces", ("a", "b c"), {"X": "ü\n"}, "/w", None, "/c", *(False, 1, 2, 3, 4, 5, 6))
    assert Spec.from_json(spec.to_json()) == spec
