"""Public packs: their own unit tests through our runner, and the refusal of old syntax."""

import re

import pytest

from mc_pipelines.decision.packs import PackRefusedError, read_modules, refuse_unportable
from mc_pipelines.decision.rego_test import run_tests
from mc_pipelines.decision.syntax import Module, RegoSyntaxError, builtin_calls, parse


@pytest.fixture(scope="module")
def embark(data_dir):
    return read_modules(data_dir / "policy" / "packs" / "embark-docker-k8s" / "policy")


def without_own_import(module: Module) -> Module:
    """Write out what an import of the module's own package abbreviates; regorus calls such an import a cycle."""
    package = re.search(r"^package (\w+)$", module.text, re.MULTILINE)[1]
    text, found = re.subn(rf"^import data\.{package}$", "", module.text, flags=re.MULTILINE)
    return Module(module.path, re.sub(rf'(?<![\w."]){package}\.', f"data.{package}.", text)) if found else module


def test_embark_tests_pass_in_our_runner_but_for_the_one_that_the_loader_refuses(embark):
    modules, tests = (tuple(without_own_import(module) for module in part) for part in embark)
    report = run_tests(modules, tests, {})
    assert len(report.results) == 52
    missed = [result for result in report.results if result.outcome != "pass"]
    assert [result.name for result in missed] == ["data.kubernetes.test_deny_deprecated_service_account"]
    assert "extra arguments (4) specified for 3 format verbs" in missed[0].message


def test_what_of_embark_the_loader_refuses(embark):
    with pytest.raises(PackRefusedError) as caught:
        refuse_unportable([parse(module) for module in embark[0]], "embark")
    by_name: dict[str, set[str]] = {}
    for entry in caught.value.extensions["refusals"]:
        place, name = entry.split(" ", 2)[:2]
        by_name.setdefault(name, set()).add(place.split(":")[0])
    assert set(by_name) == {"docker", "kubernetes", "lower", "sprintf"}
    assert by_name["sprintf"] == {"kubernetes/deny_deprecated_service_account.rego"}, "4 values for 3 verbs"
    assert len(by_name["lower"]) == 4


def test_gatekeeper_sample_is_refused_with_file_and_line(data_dir):
    folder = data_dir / "policy" / "packs" / "gatekeeper-v0-sample"
    modules, tests = read_modules(folder)
    assert len(modules) == 3
    for module in (*modules, *tests):
        with pytest.raises(RegoSyntaxError) as caught:
            parse(module)
        line = caught.value.extensions["line"]
        assert str(caught.value).startswith(f"{module.path}:{line}: not Rego v1")
        assert "{" in module.text.splitlines()[line - 1], "the line is where a body begins without `if`"


@pytest.mark.parametrize("name", ["trivy-aws-s3-iam", "trivy-azure"])
def test_trivy_packs_need_their_host_builtins(data_dir, name):
    modules, _ = read_modules(data_dir / "policy" / "packs" / name)
    parsed = [parse(module) for module in modules]
    host = {call.name for _, _, call in builtin_calls(parsed) if re.match(r"result\.|isManaged|cidr\.", call.name)}
    assert "result.new" in host
    with pytest.raises(PackRefusedError, match=r"result\.new|isManaged|cidr"):
        refuse_unportable(parsed, name)
