"""What the code location costs over `import dagster`, and how fast `mc --help` answers.

    python -m benchmarks.location_import --json

Limits (issue: foundation): location import <= bare `import dagster` + 1.0 CPU-s; `mc --help` < 300 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

_HELP_LIMIT_MS = 300
_IMPORT_LIMIT_S = 1.0


def child_cpu(code: str, *, repeat: int) -> float:
    """Return the least user + system CPU seconds of `python -c code` over some repeats."""
    best = float("inf")
    for _ in range(repeat):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def help_milliseconds(*, repeat: int) -> float:
    """Return the least wall milliseconds of `mc --help`."""
    command = [os.path.join(os.path.dirname(sys.executable), "mc"), "--help"]  # noqa: PTH118, PTH120 - keep the venv's path
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        best = min(best, (time.perf_counter() - start) * 1000)
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    bare = child_cpu("import dagster", repeat=arguments.repeat)
    location = child_cpu("from mc_pipelines.definitions import defs; defs()", repeat=arguments.repeat)
    answer = {
        "dagster_cpu_s": round(bare, 2),
        "location_cpu_s": round(location, 2),
        "over_dagster_cpu_s": round(location - bare, 2),
        "limit_over_dagster_cpu_s": _IMPORT_LIMIT_S,
        "help_ms": round(help_milliseconds(repeat=arguments.repeat)),
        "limit_help_ms": _HELP_LIMIT_MS,
        "load": os.getloadavg()[0],
    }
    if arguments.json:
        print(json.dumps(answer))
    else:
        for name, value in answer.items():
            print(f"{name:26} {value}")


if __name__ == "__main__":
    main()
