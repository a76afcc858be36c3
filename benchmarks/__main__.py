"""Run every benchmark one after the other: `python -m benchmarks [--json]`; say how long each took and which missed."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import time

import benchmarks


def main() -> int:
    """Run all; return how many ended with an error or missed their limit."""
    missed = []
    names = [each.name for each in pkgutil.iter_modules(benchmarks.__path__) if not each.name.startswith("_")]
    for number, name in enumerate(names, 1):
        print(f"== {name} ({number} of {len(names)})", file=sys.stderr, flush=True)
        started = time.monotonic()
        code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=False).returncode
        if code:
            missed.append(name)
        print(f"== {name}: {time.monotonic() - started:.0f} s, exit code {code}", file=sys.stderr, flush=True)
    if missed:
        print(f"missed or failed: {', '.join(missed)}", file=sys.stderr)
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
