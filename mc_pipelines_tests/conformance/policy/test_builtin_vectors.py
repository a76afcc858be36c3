"""Vectors of builtins: what OPA gives is what regorus gives, for all that a pack may call."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import regorus

from mc_pipelines.decision.builtins import AGREED, DISAGREEING, PROVEN_BY_VECTORS
from mc_pipelines.decision.portability import refusals
from mc_pipelines.decision.syntax import Module, builtin_calls, parse

VECTORS = json.loads((Path(__file__).parent / "builtin_vectors.json").read_text())["vectors"]


def module_of(expression: str, rule: str = "x") -> str:
    bare = expression.startswith(("every ", '"k", 1'))
    return f"{rule} if {{ {expression} }}\n" if bare else f"{rule} := {expression}\n"


def parsed(expression: str):
    return parse(Module("v.rego", f"package v\nimport rego.v1\n{module_of(expression)}"))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["expression"] for vector in VECTORS])
def test_regorus_gives_what_opa_gives_or_the_loader_refuses(vector):
    module = parsed(vector["expression"])
    native = regorus.Engine()
    native.add_policy("v.rego", module.module.text)
    value = json.loads(native.eval_rule_as_json("data.v.x"))
    if refusals([module]):
        return
    if vector.get("fraction"):
        assert value != vector["opa"], "the engines agree by now: take the mark away"
        return
    assert value == vector["opa"]
    assert type(value) is type(vector["opa"]) or isinstance(value, int | float)


def test_every_allowed_builtin_has_a_vector_and_every_difference_too():
    called = {call.name for vector in VECTORS for _, _, call in builtin_calls([parsed(vector["expression"])])}
    assert called >= AGREED
    assert called >= PROVEN_BY_VECTORS
    assert called & set(DISAGREEING)


@pytest.mark.tools
def test_a_real_opa_gives_the_vectors(tmp_path):
    opa = shutil.which("opa")
    assert opa is not None, "run `make tools`"
    path = tmp_path / "v.rego"
    rules = "".join(module_of(vector["expression"], f"v{number}") for number, vector in enumerate(VECTORS))
    path.write_text(f"package v\nimport rego.v1\n{rules}")
    command = [opa, "eval", "--strict-builtin-errors", "--format", "json", "--data", str(path), "data.v"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    values = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    assert {f"v{number}": vector["opa"] for number, vector in enumerate(VECTORS)} == values
