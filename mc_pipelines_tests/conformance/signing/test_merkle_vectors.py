"""The proof vectors of transparency-dev/merkle: what must hold holds, every attacker's variant is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.attest.merkle import verify_consistency, verify_inclusion
from mc_pipelines.attest.merkle_subtree import verify_subtree_consistency, verify_subtree_inclusion
from mc_pipelines.foundation.errors import VerificationError


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def inclusion(case: dict[str, Any], proof: list[bytes]) -> None:
    verify_inclusion(decoded(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, decoded(case["root"]))


def consistency(case: dict[str, Any], proof: list[bytes]) -> None:
    verify_consistency(case["size1"], case["size2"], proof, decoded(case["root1"]), decoded(case["root2"]))


def subtree_inclusion(case: dict[str, Any], proof: list[bytes]) -> None:
    root = decoded(case["root"])
    verify_subtree_inclusion(decoded(case["leafHash"]), case["leafIdx"], case["start"], case["end"], proof, root)


def subtree_consistency(case: dict[str, Any], proof: list[bytes]) -> None:
    roots = decoded(case["root1"]), decoded(case["root2"])
    verify_subtree_consistency(case["start"], case["end"], case["size"], proof, *roots)


@pytest.mark.parametrize(
    ("name", "count", "check"),
    [
        ("inclusion", 53, inclusion),
        ("consistency", 50, consistency),
        ("subtreeinclusion", 107, subtree_inclusion),
        ("subtreeconsistency", 56, subtree_consistency),
    ],
)
def test_vectors(data_dir: Path, name: str, count: int, check: Callable[[dict[str, Any], list[bytes]], None]) -> None:
    lines = (data_dir / "signing" / "merkle" / f"{name}.jsonl").read_text("utf-8").splitlines()
    wrong = []
    for line in lines:
        case = json.loads(line)
        try:
            check(case, [decoded(one) for one in case["proof"] or []])
            refused = False
        except VerificationError:
            refused = True
        if refused != case["wantErr"]:
            wrong.append(case["_case"])
    assert wrong == []
    assert len(lines) >= count
