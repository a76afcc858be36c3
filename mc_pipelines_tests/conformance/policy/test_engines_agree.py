"""Our packs on regorus and on a real OPA server: the same verdict for every well-formed input.

On ill-formed input regorus may err where OPA does not; then OPA must not allow anything either.
"""

import json
import random
import shutil
import socket
import subprocess
import time
from contextlib import closing
from typing import Any

import httpx
import pytest

from mc_pipelines.decision.opa_engine import OpaEngine
from mc_pipelines.decision.packs import load_pack, read_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.policy.bundles import build_bundle

pytestmark = pytest.mark.tools
BOTH = (True, False)
QUERIES = {
    "placement": ("data.placement.deny", "data.placement.allow"),
    "access": ("data.access.deny", "data.access.allow"),
    "storage": ("data.storage.deny", "data.storage.allow"),
}


def some(generator: random.Random, *values: Any) -> Any:
    return generator.choice((*values, *values, None, 3, "?", [], {}))


def flag(generator: random.Random) -> Any:
    return some(generator, *BOTH)


def placement_input(g: random.Random) -> dict[str, Any]:
    candidates = [
        {
            "cloud": some(g, "AWS", "AZURE", "GCP", "LOCAL"),
            "region": some(g, "us-east-1", "eastus", "europe-west3", "local"),
            "capabilities": some(g, {"read_only_root": flag(g), "egress": some(g, ["ip"], ["none", "ip"])}),
            "drained": flag(g),
            "quota_left": some(g, 0, 1, 2.5),
        }
        for _ in range(g.randrange(4))
    ]
    return {
        "tenant": some(g, "acme", "ñ"),
        "data_class": some(g, "public", "confidential", "restricted"),
        "residency": some(g, ["us"], ["eu", "local"], ["AWS/us-east-1"]),
        "needs": some(g, {"read_only_root": flag(g), "egress": some(g, "ip", "none")}),
        "flags": some(g, {"runner_azure_preview": flag(g)}),
        "candidates": some(g, candidates),
    }


def access_input(g: random.Random) -> dict[str, Any]:
    return {
        "method": some(g, "GET", "POST"),
        "path": some(g, ["api", "credits"], ["api", "credits", some(g, "42", "")], ["health"], ["api", "executions"]),
        "tenant": some(g, "acme", "globex"),
        "caller": some(
            g, {"roles": some(g, ["operator"], ["tenant-reader"], []), "tenants": some(g, ["acme"], [None])}
        ),
    }


def storage_input(g: random.Random) -> dict[str, Any]:
    sealed = {"envelope": some(g, "MCE1"), "key_id": some(g, "k", ""), "tenant": some(g, "acme")}
    return {"kind": some(g, "receipt", "log", "facts"), "tenant": some(g, "acme"), "encryption": some(g, sealed)}


MAKERS = {"placement": placement_input, "access": access_input, "storage": storage_input}


def lacking(g: random.Random, document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if g.random() > 0.05}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    opa = shutil.which("opa")
    assert opa is not None, "run `make tools`"
    folder = tmp_path_factory.mktemp("opa")
    bundles = []
    for name in QUERIES:
        path = folder / f"{name}.tar.gz"
        path.write_bytes(build_bundle(load_pack(name)).content)
        bundles += ["--bundle", str(path)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [opa, "run", "--server", "--addr", address, "--disable-telemetry", "--log-level", "error", *bundles],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://{address}/health").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(10)


def comparable(value: Any) -> Any:
    return sorted(json.dumps(item, sort_keys=True) for item in value) if isinstance(value, list) else value


@pytest.mark.parametrize("name", QUERIES)
def test_same_verdict_for_every_input(server, name):
    pack = load_pack(name)
    regorus = RegorusEngine(pack)
    generator = random.Random(20260119)  # noqa: S311 - inputs of a test
    values = errors = stricter = 0
    with closing(OpaEngine(server, pack)) as opa:
        for _ in range(400):
            document = lacking(generator, MAKERS[name](generator))
            for query in QUERIES[name]:
                mine, theirs = regorus.evaluate(query, document), opa.evaluate(query, document)
                if theirs.defined and not mine.defined:
                    # regorus errs where a member is no collection at all, OPA finds nothing in it.
                    assert "some .. in collection" in mine.error, (query, document, mine)
                    assert opa.evaluate(f"data.{name}.allow", document).value in (False, []), (query, document)
                    stricter += 1
                    continue
                assert mine.defined == theirs.defined, (query, document, mine, theirs)
                assert comparable(mine.value) == comparable(theirs.value), (query, document)
                values, errors = values + mine.defined, errors + (not mine.defined)
    assert values > 400, f"{values} values, {errors} errors, {stricter} stricter"


def test_another_revision_is_an_error(server, tmp_path):
    folder = tmp_path / "storage"
    folder.mkdir()
    (folder / "storage.rego").write_text("package storage\nimport rego.v1\ndefault allow := false\n")
    with closing(OpaEngine(server, read_pack(folder))) as engine:
        assert "serves revision" in engine.evaluate("data.storage.allow", {"kind": "facts"}).error
