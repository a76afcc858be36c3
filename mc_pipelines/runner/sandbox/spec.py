"""What the parent tells the launcher, and what the launcher reports back; standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

WORK = "/work"
"""Where the working folder is inside a sandbox that has a file system of its own."""
PATH = "/usr/local/bin:/usr/bin:/bin"
READABLE = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/ssl/certs",
)
"""What a command may read of this machine; no home, no /var, no other program's files."""
TMP_BYTES = 256 << 20
"""Size of /tmp where it is the sandbox's own; it lies in memory."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Spec:
    """One sandbox.

    Attributes:
        mode: ``namespaces`` (own root, network and process tree), ``landlock`` (paths and sockets confined in
            place) or ``inside`` (bubblewrap has built the root already).
        workspace: the working folder, as the launcher sees it.
        uid: the user the command runs as; None keeps the present one.
        canary: a folder outside the workspace that ``uid`` could write and read, were it not confined.
        report_fd, go_fd: where the launcher writes its report, and waits for the word to go.
    """

    mode: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    workspace: str
    uid: int | None
    canary: str
    open_network: bool
    cpu_seconds: int
    memory_bytes: int
    processes: int
    file_bytes: int
    report_fd: int
    go_fd: int

    def to_json(self) -> str:
        """Return the spec as one JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Read a spec."""
        found = json.loads(text)
        return cls(**{**found, "argv": tuple(found["argv"])})


@dataclass(frozen=True)
class Probes:
    """What was seen from inside, just before the command: an empty list of leaks means the control held."""

    write_leaks: list[str]
    read_leaks: list[str]
    network_leaks: list[str]
    limit_leaks: list[str]
    privilege_leaks: list[str]
    mechanisms: dict[str, str]
    failures: list[str]

    def to_json(self) -> bytes:
        """Return the report as one JSON line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Probes:
        """Read a report."""
        return cls(**json.loads(content))
