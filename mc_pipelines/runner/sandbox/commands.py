"""Which mechanism builds the sandbox, and the command line that starts it."""

from __future__ import annotations

import os
import shutil
import sys
from enum import StrEnum
from pathlib import Path

from mc_pipelines.runner.sandbox.spec import READABLE, TMP_BYTES, WORK, Spec

_PROGRAM = "/run/mc"
_FILES = ("launcher.py", "linux.py", "spec.py")


class Mechanism(StrEnum):
    """From the strongest to the weakest; the first that works here is used."""

    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"


def mechanisms() -> tuple[Mechanism, ...]:
    """Return those worth trying on this machine, best first."""
    with_bubblewrap = (Mechanism.BUBBLEWRAP,) if shutil.which("bwrap") else ()
    return (*with_bubblewrap, Mechanism.NAMESPACES, Mechanism.LANDLOCK)


def command(mechanism: Mechanism, spec: Spec, spec_fd: int, program: Path) -> list[str]:
    """Return the command line that starts a spec.

    Args:
        mechanism: what builds the root.
        spec: the sandbox; its ``mode`` fits the mechanism.
        spec_fd: an open file with the spec. Never on the command line: every user of the machine reads that, and
            an environment holds secrets; nor would a long one fit.
        program: a folder with copies of the launcher's files, readable by the sandbox's user.
    """
    if mechanism is not Mechanism.BUBBLEWRAP:
        return [os.path.realpath(sys.executable), "-I", "-S", "-c", _run(str(program)), str(spec_fd)]
    interpreter, mounts = _interpreter(spec.uid)
    network = ["--share-net"] if spec.open_network else []
    return [
        str(shutil.which("bwrap")),
        *("--unshare-all", *network, "--unshare-user", "--disable-userns"),
        *("--die-with-parent", "--as-pid-1", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *_readable(),
        *mounts,
        *("--dev", "/dev", "--proc", "/proc", "--size", str(TMP_BYTES), "--tmpfs", "/tmp"),  # noqa: S108 - inside the sandbox
        *("--bind", spec.workspace, WORK, "--ro-bind", str(program), _PROGRAM),
        *("--remount-ro", "/", "--chdir", WORK),
        *(interpreter, "-I", "-S", "-c", _run(_PROGRAM), str(spec_fd)),
    ]


def copy_program(folder: Path) -> None:
    """Put the launcher's files where the sandbox's user can read them."""
    folder.mkdir()
    for name in _FILES:
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
        (folder / name).chmod(0o644)


def _run(folder: str) -> str:
    setup = f"import sys; sys.path.insert(0, {folder!r}); sys.dont_write_bytecode = True"
    return f"{setup}; import launcher; launcher.main(int(sys.argv[1]))"


def _readable() -> list[str]:
    found: list[str] = []
    for path in READABLE:
        if os.path.islink(path):  # noqa: PTH114 - a symbolic link is made anew, not followed
            found += ["--symlink", os.readlink(path), path]  # noqa: PTH115
        elif os.path.exists(path):  # noqa: PTH110
            found += ["--ro-bind", path, path]
    return found


def _interpreter(uid: int | None) -> tuple[str, list[str]]:
    """Return a Python that runs inside, and the mounts it needs.

    The system's own needs none. Another one is bound read-only, unless the sandbox's user could not reach it.
    """
    system = Path("/usr/bin/python3")
    if system.exists():
        return str(system), []
    executable = Path(os.path.realpath(sys.executable))
    prefix = sys.base_prefix
    if uid is not None and not _reachable(Path(prefix)):
        raise FileNotFoundError(f"no Python that another user can run: {prefix}")
    return str(executable), [] if prefix.startswith("/usr/") else ["--ro-bind", prefix, prefix]


def _reachable(path: Path) -> bool:
    everyone_enters = 0o001
    return all(parent.stat().st_mode & everyone_enters for parent in (path, *path.parents))
