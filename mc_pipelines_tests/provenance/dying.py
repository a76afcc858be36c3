"""Work that is killed at its first step, then at its second, and so on, until it comes to its end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator


def killed_steps(program: str, *arguments: str, done: str) -> Generator[str, None, None]:
    """Yield the step at which each attempt died, last ``done``.

    The program makes an attempt for each line that it reads and writes, as JSON, where that ended. Closing ends it.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        step = ""
        while step != done:
            child.stdin.write("\n")
            child.stdin.flush()
            step = json.loads(child.stdout.readline())
            yield step
    finally:
        child.kill()
        child.communicate()
