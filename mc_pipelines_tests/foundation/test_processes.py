"""Children end together, grandchildren included."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from mc_pipelines.foundation.errors import InputError, UnavailableError
from mc_pipelines.foundation.processes import Supervisor, require_free_port

_STUBBORN_GRANDCHILD = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
grandchild = subprocess.Popen([sys.executable, "-c", code])
print(grandchild.pid, flush=True)
time.sleep(60)
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stubborn_child_and_its_own_child_are_ended(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, grace_seconds=0.3)
    child = supervisor.start("stubborn", [sys.executable, "-c", _STUBBORN_GRANDCHILD], os.environ)
    deadline = time.monotonic() + 10
    while not child.log.read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.02)
    grandchild = int(child.log.read_text())
    supervisor.stop()
    deadline = time.monotonic() + 5
    while _alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(grandchild)
    assert supervisor.children == []


def test_a_child_that_dies_at_once_is_named_with_its_last_words(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start("brittle", [sys.executable, "-c", "raise SystemExit('no such thing')"], os.environ)
    try:
        with pytest.raises(UnavailableError, match=r"brittle ended with exit code 1: no such thing"):
            supervisor.wait_for_port("127.0.0.1", 1, seconds=10)
    finally:
        supervisor.stop()


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=r"in use; field MC_API_PORT = ") as caught:
            require_free_port("127.0.0.1", port, field="MC_API_PORT")
    assert caught.value.value == port
