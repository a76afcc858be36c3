"""Run every benchmark one after the other: `python -m benchmarks [--json]`."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import benchmarks


def main() -> int:
    """Run all and return the number that failed."""
    failed = 0
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name.startswith("_"):
            continue
        print(f"== {module.name}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"benchmarks.{module.name}", *sys.argv[1:]], check=False).returncode
            != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
