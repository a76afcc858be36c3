"""Go's golang.org/x/mod/sumdb judges our checkpoint, inclusion and consistency proofs."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_pipelines.attest.checkpoint import Checkpoint
from mc_pipelines.attest.merkle import leaf_hash, prove_consistency, prove_inclusion, root_of
from mc_pipelines.attest.note import EcdsaNoteSigner, Ed25519NoteSigner, sign_note
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines_tests.attest.test_merkle import store_of

pytestmark = pytest.mark.tools

SIZE, OLD = 1000, 777


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("needs Go: install golang")
    folder = tmp_path_factory.mktemp("sumdb")
    shutil.copy(Path(__file__).parent / "sumdb" / "main.go", folder)
    (folder / "go.mod").write_text("module sumdb\n\ngo 1.24\n\nrequire golang.org/x/mod v0.41.0\n")
    for command in (["mod", "tidy"], ["build", "-o", "judge", "."]):
        built = subprocess.run([go, *command], cwd=folder, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
    return folder / "judge"


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def evidence() -> dict[str, Any]:
    leaves = [leaf_hash(str(number).encode()) for number in range(SIZE)]
    store = store_of(leaves)
    root = root_of(leaves)
    log = Ed25519NoteSigner("log.example/audit", Ed25519PrivateKey.generate())
    service = EcdsaNoteSigner("log.example/audit", LocalSigner.generate())
    return {
        "VerifierKey": str(log.key),
        "Note": str(sign_note(Checkpoint("log.example/audit", SIZE, root).text, [service, log])),
        "Size": SIZE,
        "Root": encoded(root),
        "OldSize": OLD,
        "OldRoot": encoded(root_of(leaves[:OLD])),
        "Consistency": [encoded(one) for one in prove_consistency(store.read, OLD, SIZE)],
        "Inclusion": [
            {
                "Index": index,
                "Leaf": encoded(leaves[index]),
                "Proof": [encoded(one) for one in prove_inclusion(store.read, index, SIZE)],
            }
            for index in range(SIZE)
        ],
    }


def test_go_accepts_all_our_proofs(judge: Path) -> None:
    done = subprocess.run([judge], input=json.dumps(evidence()), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(SIZE)


@pytest.mark.parametrize(
    "change", [{"OldRoot": encoded(b"\0" * 32)}, {"Size": SIZE + 1}, {"Root": encoded(b"\0" * 32)}]
)
def test_go_refuses_what_is_changed(judge: Path, change: dict[str, Any]) -> None:
    done = subprocess.run([judge], input=json.dumps(evidence() | change), capture_output=True, text=True, check=False)
    assert done.returncode == 1
