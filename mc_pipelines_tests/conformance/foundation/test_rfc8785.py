"""Canonical JSON against the published vectors of RFC 8785."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mc_pipelines.foundation.canonical import canonical_json, is_canonical


@pytest.fixture
def vectors(data_dir: Path) -> Path:
    folder = data_dir / "signing" / "rfc8785"
    assert sorted(folder.glob("input/*.json")), f"no vectors in {folder}"
    return folder


def test_every_vector_has_its_canonical_bytes(vectors: Path) -> None:
    for source in sorted(vectors.glob("input/*.json")):
        made = canonical_json(json.loads(source.read_bytes()))
        expected = bytes.fromhex((vectors / "outhex" / f"{source.stem}.txt").read_text())
        assert made == expected, source.name
        assert made == (vectors / "output" / source.name).read_bytes(), source.name
        assert is_canonical(made)
        assert not is_canonical(source.read_bytes()), source.name
