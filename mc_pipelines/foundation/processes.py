"""Child processes of `mc up`: started together, ended together, never left behind.

Each child leads a process group of its own, asks the kernel to be told when its parent dies
(``PR_SET_PDEATHSIG``), and is ended by TERM, then KILL, to the whole group.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mc_pipelines.foundation.errors import InputError, UnavailableError

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.05


@dataclass
class Child:
    """One running child."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


@dataclass
class Supervisor:
    """Starts children and ends all of them when one ends or when it is told to.

    Args:
        log_folder: each child writes to ``<log_folder>/<name>.log``.
        grace_seconds: time between TERM and KILL.
    """

    log_folder: Path
    grace_seconds: float = 8
    children: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log_folder.mkdir(parents=True, exist_ok=True)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphaned grandchildren come to us, and can be ended

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start one child; its output goes to its log."""
        log = self.log_folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own commands, never a shell
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - started before any thread of ours
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def ended(self) -> Child | None:
        """Return a child that has ended, if one has."""
        return next((child for child in self.children if child.process.poll() is not None), None)

    def wait_for_port(self, host: str, port: int, *, seconds: float) -> None:
        """Wait until something listens on a port.

        Raises:
            UnavailableError: a child ended meanwhile, or the time ran out.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            child = self.ended()
            if child is not None:
                raise UnavailableError(
                    f"{child.name} ended with exit code {child.process.returncode}: {last_lines(child.log)}",
                    mend=f"read {child.log}",
                )
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex((host, port)) == 0:
                    return
            time.sleep(_POLL_SECONDS)
        raise UnavailableError(f"Nothing listens on {host}:{port} after {seconds:g} s", mend="read the logs")

    def stop(self) -> None:
        """End every child and whatever it started; return when none is left."""
        for child in reversed(self.children):
            _signal_group(child.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.grace_seconds
        while time.monotonic() < deadline and any(_group_lives(child.process.pid) for child in self.children):
            self._reap()
            time.sleep(_POLL_SECONDS)
        for child in self.children:
            _signal_group(child.process.pid, signal.SIGKILL)
            child.process.wait()
        self._reap()
        self.children.clear()

    def _reap(self) -> None:
        for child in self.children:
            child.process.poll()
        own = {child.process.pid for child in self.children}
        for pid in _children_of_this_process() - own:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def require_free_port(host: str, port: int, *, field: str) -> None:
    """Check that a port can be bound.

    Raises:
        InputError: it is taken, or may not be bound.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise InputError(
                "The port is in use" if taken else f"The port cannot be bound: {error.strerror}",
                field=field,
                value=port,
                mend=f"stop what listens on {host}:{port}, or set {field} to another port",
            ) from error


def last_lines(log: Path, count: int = 3) -> str:
    """Return the last lines of a log on one line."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "no log"
    return " | ".join(lines[-count:])


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(pid: int, signal_number: signal.Signals) -> None:
    try:
        os.killpg(pid, signal_number)
    except (ProcessLookupError, PermissionError):
        return


def _group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _children_of_this_process() -> set[int]:
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    try:
        return {int(pid) for pid in listing.read_text().split()}
    except OSError:
        return set()
