"""OPA and conftest run the tests of our packs, and see it when a rule is wrong."""

import re
import shutil
from pathlib import Path

import pytest

from mc_pipelines.decision.packs import list_packs, load_pack
from mc_pipelines.decision.rego_test import run_pack_tests
from mc_pipelines_tests.tools.conftest import REPOSITORY, Tool

pytestmark = pytest.mark.tools


def _ours() -> int:
    return sum(len(run_pack_tests(load_pack(name)).results) for name in list_packs(REPOSITORY / "policy"))


def test_opa_runs_as_many_tests_as_regorus_and_all_pass(tool: Tool) -> None:
    done = tool("opa", "test", "policy/")
    assert done.returncode == 0, done.stdout
    found = re.fullmatch(r"PASS: (\d+)/(\d+)", done.stdout.strip().splitlines()[-1])
    assert found is not None, done.stdout
    assert int(found[1]) == int(found[2]) == _ours()


def test_opa_finds_every_pack_strict_and_formatted(tool: Tool) -> None:
    strict = tool("opa", "check", "--strict", "policy/")
    assert strict.returncode == 0, strict.stderr
    unformatted = tool("opa", "fmt", "--list", "policy/")
    assert unformatted.stdout == ""


def test_conftest_verifies_the_packs(tool: Tool) -> None:
    done = tool("conftest", "verify", "--no-color", "--policy", "policy/", "--data", "policy/")
    assert done.returncode == 0, done.stdout
    assert f"{_ours()} tests, {_ours()} passed" in done.stdout


def test_both_notice_a_rule_that_was_broken(tool: Tool, tmp_path: Path) -> None:
    broken = tmp_path / "policy"
    shutil.copytree(REPOSITORY / "policy", broken)
    rego = broken / "storage" / "storage.rego"
    text = rego.read_text()
    assert "allow if" in text
    rego.write_text(text.replace("allow if", "permit if"))
    assert tool("opa", "test", broken).returncode != 0
    assert tool("conftest", "verify", "--policy", broken, "--data", broken).returncode != 0
