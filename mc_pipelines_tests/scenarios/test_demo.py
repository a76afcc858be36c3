"""The demo from nothing: killed in the middle, run to its end, and run again without changing anything."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mc_pipelines.executions.facts import days_with_facts, scan_facts
from mc_pipelines.foundation.object_store_local import LocalObjectStore

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(1200)]
MC = str(Path(sys.executable).with_name("mc"))


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MC_") or name == "MC_DATA_DIR"}
    return kept | {"MC_HOME": str(home), "PYTHONWARNINGS": "ignore"}


def demo(home: Path) -> dict[str, Any]:
    command = [MC, "demo", "--json"]
    finished = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer


def kill_group(victim: "subprocess.Popen[bytes]") -> bool:
    """End a demo and its control plane without a word; tell whether it still ran."""
    ran = victim.poll() is None
    with suppress(ProcessLookupError):
        os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    return ran


def test_killed_at_several_moments_then_finished_then_unchanged(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each try goes on from where the last was killed; the moments are random, and their seed is in the message."""
    home = tmp_path_factory.mktemp("d") / "h"
    seed = int(os.environ.get("MC_TEST_SEED", time.time_ns() % 100_000))
    moments = random.Random(seed)  # noqa: S311 - moments, no secrets
    killed = []
    try:
        for span in ((0.3, 3), (1, 8), (3, 15), (3, 20), (5, 25), (10, 40)):
            seconds = moments.uniform(*span)
            victim = subprocess.Popen(
                [MC, "demo"], env=environment(home), stdout=subprocess.DEVNULL, start_new_session=True
            )
            with suppress(subprocess.TimeoutExpired):
                victim.wait(timeout=seconds)
            killed.append((round(seconds, 1), kill_group(victim)))
        first = demo(home)
        again = demo(home)
        assert first["made"]["executions published"] == 20, (seed, killed)
        assert first["made"]["signed receipts, sealed in the object store"] == 20, (seed, killed)
        assert first["made"]["signed credit notes"] == 2, (seed, killed)
        assert set(first["verified"]) == {"note.json", "receipt.json"}
        assert all(report["ok"] for report in first["verified"].values()), (seed, killed)
        assert {"receipt", "execution"} <= {node["kind"] for node in first["graph"]["answer"]["nodes"]}
        assert first["rotations"][0][1] == "RETIRED", (seed, killed)
        assert len(first["rotations"]) == 1, (seed, killed)
        assert first["rollouts"][0][1] == "simulate"
        assert not again["changed"]
        assert again["made"] == first["made"], (seed, killed)
        assert facts(home) == (20, 20), (seed, killed)
    finally:
        subprocess.run([MC, "db", "stop"], env=environment(home), capture_output=True, check=False)


def facts(home: Path) -> tuple[int, int]:
    """Return how many real rows the lake has, and of how many attempts."""
    store = LocalObjectStore(home / "objects")
    days = days_with_facts(store)
    real = scan_facts(store, first_day=days[0], last_day=days[-1]).filter(pl.col("source") == "real").collect()
    return len(real), real.select("execution_id", "attempt").n_unique()
