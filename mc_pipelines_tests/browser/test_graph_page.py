"""The page of the graph in a real browser: it draws what the API says, without anything from elsewhere.

MC_UPDATE_PICTURES=1 keeps the picture in docs/images.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
import uvicorn

from mc_pipelines.api.app import create_app
from mc_pipelines.api.local_issuer import LOCAL_ISSUER, LocalIssuer
from mc_pipelines.composition import Context
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import PersonId, TenantId
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.foundation.tenants import Person, put_person
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.trust_roots import TrustRoots
from mc_pipelines_tests.browser.test_asset_graph import CHROMIUM, free_port
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = [pytest.mark.system, pytest.mark.database, pytest.mark.timeout(120)]
VENDOR = Path(__file__).parents[2] / "mc_pipelines" / "api" / "static" / "vendor"
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "provenance-page.png"
SHOP = "pkg:oci/shop@1"


def sbom() -> bytes:
    names = ("web", "db", "tls", "zip")
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": {"type": "container", "name": "shop", "purl": SHOP, "bom-ref": "shop"}},
            "components": [
                {"type": "library", "name": name, "purl": f"pkg:npm/{name}@1", "bom-ref": name} for name in names
            ],
            "dependencies": [
                {"ref": "shop", "dependsOn": ["web", "db"]},
                {"ref": "web", "dependsOn": ["tls", "zip"]},
            ],
        }
    ).encode()


@pytest.fixture
def address(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A served application, and a token of a reader of acme."""
    context = Context(Settings(home=tmp_path / "home"), database.app, clock)
    with context.database.begin() as connection:
        person = Person(PersonId(uuid4()), LOCAL_ISSUER, "rita", "Rita", frozenset({"tenant-reader"}))
        put_person(connection, person, now=clock.now())
    documents = [Document("sbom", sbom())]
    list(ingest_documents(context.database, TenantId("acme"), documents, TrustRoots(), clock=clock))
    token = LocalIssuer(context.settings.home_path).issue(
        "rita", tenants=("acme",), audience="maestro-conductor", now=datetime.now(UTC), lifetime=timedelta(hours=1)
    )
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(context), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def test_the_page_draws_what_the_api_says(
    address: tuple[str, str], need_program: Callable[[str, str], str], tmp_path: Path
) -> None:
    chromium = need_program("chromium", "Debian package chromium")
    if not (VENDOR / "cytoscape.min.js").is_file():
        pytest.skip("Cytoscape.js is not built in: `make page`")
    base, token = address
    page = f"{base}/provenance#node={quote(SHOP)}&tenant=acme&token={token}"
    options = [*CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"]
    shot = tmp_path / "page.png"
    done = subprocess.run(
        [chromium, *options, "--enable-logging=stderr", f"--screenshot={shot}", "--dump-dom", page],
        check=True, capture_output=True, timeout=90, text=True,
    )  # fmt: skip
    dom = done.stdout
    assert 'data-state="shown"' in dom, dom[-2000:] + done.stderr[-2000:]
    assert re.search(r'data-nodes="4"', dom), "manifest, shop, web and db, one step around"
    assert re.search(r'data-edges="3"', dom)
    rows = re.findall(r'<tr data-id="[^"]+" class="claimed">', dom)
    assert len(rows) == 3
    assert "badge failed" in dom, "no receipt vouches for it"
    assert f"1 manifest stands on {SHOP}." in dom
    assert token not in dom
    blocked = [line for line in done.stderr.splitlines() if "Content Security Policy" in line or "Uncaught" in line]
    assert blocked == []
    assert shot.read_bytes().startswith(b"\x89PNG")
    if os.environ.get("MC_UPDATE_PICTURES") == "1":
        shutil.copyfile(shot, PICTURE)
