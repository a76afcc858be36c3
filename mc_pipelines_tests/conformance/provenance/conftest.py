from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def provenance(data_dir: Path) -> Path:
    return data_dir / "provenance"


@pytest.fixture(scope="session")
def expected(provenance: Path) -> dict[str, Any]:
    """Counts that an independent script made of the documents."""
    found: dict[str, Any] = json.loads((provenance / "expected.json").read_bytes())
    return found


@pytest.fixture(scope="session")
def expected_signatures(provenance: Path) -> dict[str, Any]:
    """Verdicts of an independent cryptographic check."""
    found: dict[str, Any] = json.loads((provenance / "expected-signatures.json").read_bytes())
    return found
