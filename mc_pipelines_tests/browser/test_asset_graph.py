"""The real UI over the real daemon: every asset is there, and a picture of their graph can be looked at.

MC_UPDATE_PICTURES=1 keeps the picture in docs/images. Ctrl-C then leaves no process.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.system, pytest.mark.database, pytest.mark.timeout(300)]
MC = str(Path(sys.executable).with_name("mc"))
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "asset-graph.png"
CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1900,1000",
    "--virtual-time-budget=60000",
]
QUERY = """
{ assetNodes { assetKey { path } }
  instance { daemonHealth { allDaemonStatuses { healthy required } } } }
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": QUERY}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - our own loopback
        found: dict[str, Any] = json.loads(response.read())["data"]
    return found


def processes_of(home: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                seen = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(home).encode() in seen:
                found.append((entry / "cmdline").read_bytes().decode(errors="replace")[:120])
    return found


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    home, port = tmp_path_factory.mktemp("u") / "h", free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MC_")}
    variables = kept | {"MC_HOME": str(home), "MC_UI_PORT": str(port), "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [MC, "up", "--no-api", "--no-runner"], env=variables, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"up after"):
            break
    try:
        yield process, port, home
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        subprocess.run([MC, "db", "stop"], env=variables, capture_output=True, check=False)


def test_the_ui_shows_every_asset_and_ctrl_c_leaves_nothing(
    running: tuple[subprocess.Popen[bytes], int, Path], need_program: Callable[[str, str], str], tmp_path: Path
) -> None:
    chromium = need_program("chromium", "Debian package chromium")
    process, port, home = running
    found = ask(port)
    assert {"credit_notes", "execution_facts", "provenance_generation", "key_rotations", "estimator_backtest"} <= {
        node["assetKey"]["path"][-1] for node in found["assetNodes"]
    }
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        daemons = ask(port)["instance"]["daemonHealth"]["allDaemonStatuses"]
        if all(each["healthy"] for each in daemons if each["required"]):
            break
        time.sleep(1)
    else:
        pytest.fail(f"daemons are not healthy: {daemons}")
    shot = tmp_path / "ui.png"
    subprocess.run(
        [chromium, *CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}",
         f"http://127.0.0.1:{port}/asset-groups"],
        check=True, capture_output=True, timeout=150,
    )  # fmt: skip
    content = shot.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 20_000, "the page is blank"
    if os.environ.get("MC_UPDATE_PICTURES") == "1":
        shutil.copyfile(shot, PICTURE)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=15)
    while processes_of(home) and time.monotonic() - started < 15:
        time.sleep(0.2)
    assert processes_of(home) == []
