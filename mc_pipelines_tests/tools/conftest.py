"""A tool of `make tools`: in .tools/bin, or anywhere on PATH."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
Tool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, need_program: Callable[[str, str], str]) -> Tool:
    """Returns a function that runs a tool in the repository's folder and returns what it said."""
    monkeypatch.setenv("PATH", str(REPOSITORY / ".tools" / "bin"), prepend=":")

    def run(name: str, *arguments: str | Path, given: bytes = b"") -> "subprocess.CompletedProcess[str]":
        command = [need_program(name, "run `make tools`"), *map(str, arguments)]
        done = subprocess.run(command, cwd=REPOSITORY, input=given, capture_output=True, check=False)
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
