"""Linux system calls that Python 3.11 does not offer, by ctypes; standard library only.

Sources: unshare(2), mount_setattr(2), pivot_root(2), landlock(7), seccomp(2), capabilities(7). Numbers of
system calls are the same on x86-64 and arm64 but where a table says otherwise.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000

PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63

# By name: the number on x86-64, then on arm64.
_NUMBERS = {
    "pivot_root": (155, 41),
    "capget": (125, 90),
    "capset": (126, 91),
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "ptrace": (101, 117),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
_ARM = platform.machine() == "aarch64"
_AUDIT_ARCHITECTURE = 0xC00000B7 if _ARM else 0xC000003E
_X32_BIT = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def number(name: str) -> int:
    """Return the number of a system call on this machine."""
    return _NUMBERS[name][_ARM]


def unshare(flags: int) -> None:
    """Leave the namespaces of ``flags``."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount, or bind, or change the propagation of a mount."""
    encoded = [None if each is None else os.fsencode(each) for each in (source, target, kind)]
    options = None if data is None else data.encode()
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), options), f"mount {target}")


def unmount(target: str) -> None:
    """Detach a mount and everything below it."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def set_mount_attributes(path: str, attributes: int) -> None:
    """Set attributes on a mount and all below it; never clears one."""
    request = struct.pack("QQQQ", attributes, 0, 0, 0)
    _syscall("mount_setattr", _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, request, len(request))


def pivot_root(new_root: str, put_old: str) -> None:
    """Make ``new_root`` the root; the old one appears at ``put_old``."""
    _syscall("pivot_root", os.fsencode(new_root), os.fsencode(put_old))


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send a signal when the parent ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def forbid_new_privileges() -> None:
    """Set no_new_privs: no exec gives more than this process has."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl no_new_privs")


def new_privileges_forbidden() -> bool:
    """Tell whether no_new_privs is set."""
    return bool(_libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)


def drop_bounding_set() -> None:
    """Empty the bounding set where this process may; a capability that the kernel lacks is no error."""
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability of this process."""
    header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
    _syscall("capset", header, bytes(24))


def holds_capabilities() -> bool:
    """Tell whether this process has any capability, effective, permitted or inheritable."""
    header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
    found = ctypes.create_string_buffer(24)
    _check(int(_libc.syscall(ctypes.c_long(number("capget")), ctypes.c_char_p(header), found)), "capget")
    return any(found.raw)


def landlock_version() -> int:
    """Return the kernel's Landlock ABI, 0 where there is none."""
    found = _libc.syscall(number("landlock_create_ruleset"), None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, int(found))


_FILE_WRITES = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))
_FILE_READS = 1 << 0 | 1 << 2 | 1 << 3
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ON_A_FILE = 1 << 0 | 1 << 1 | 1 << 2 | _TRUNCATE
_TCP = 0b11


def landlock(readable: list[str], writable: list[str], *, forbid_tcp: bool) -> None:
    """Confine this process and its children to paths, forbid TCP (ABI 4) and signals to the outside (ABI 6).

    Raises:
        OSError: the kernel has no Landlock.
    """
    version = landlock_version()
    files = _FILE_WRITES | _FILE_READS | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)  # noqa: PLR2004
    network = _TCP if forbid_tcp and version >= 4 else 0  # noqa: PLR2004
    scopes = 0b11 if version >= 6 else 0  # noqa: PLR2004 - abstract sockets and signals stay inside
    words = (files, network, scopes)[: 3 if version >= 6 else 2 if version >= 4 else 1]  # noqa: PLR2004
    attributes = struct.pack("Q" * len(words), *words)
    ruleset = _syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        for paths, allowed in ((readable, _FILE_READS), (writable, files)):
            for path in paths:
                _allow_beneath(ruleset, path, allowed)
        _syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_beneath(ruleset: int, path: str, allowed: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no rule
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - this module stays small on purpose
            allowed &= _ON_A_FILE
        _syscall("landlock_add_rule", ruleset, 1, struct.pack("=Qi", allowed, handle), 0)
    finally:
        os.close(handle)


_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone(2) takes
_AF_UNIX, _SOCK_DGRAM, _KIND_OF_SOCKET = 1, 2, 0xF
_LOAD, _EQUAL, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x45, 0x54, 0x06
_NUMBER, _FIRST, _SECOND = 0, 16, 24
_EPERM, _EACCES, _ENOSYS, _ALLOW = 0x00050001, 0x0005000D, 0x00050026, 0x7FFF0000


def forbid_system_calls(*, unix_sockets: bool, other_sockets: bool) -> None:
    """Install a seccomp filter: no new namespaces or mounts, no tracing, and only the sockets that are named.

    Args:
        unix_sockets: they may be made. Only where the root is the command's own: neither Landlock nor a network
            namespace keeps a command from a socket that another program of this machine listens on.
        other_sockets: any other family may.

    Raises:
        OSError: the kernel takes no filter.
    """
    refused = ["unshare", "setns", "mount", "ptrace", "bpf", "keyctl", "io_uring_setup"]
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 1, 0, _AUDIT_ARCHITECTURE),
        (_RETURN, 0, 0, 0x80000000),  # another one: end the process
        (_LOAD, 0, 0, _NUMBER),
    ]
    if not _ARM:
        code += [(0x35, 0, 1, _X32_BIT), (_RETURN, 0, 0, 0x80000000)]
    for name in refused:
        code += [(_EQUAL, 0, 1, number(name)), (_RETURN, 0, 0, _EPERM)]
    # The flags of clone3 lie in memory that a filter cannot read: as if it did not exist, and callers use clone.
    code += [(_EQUAL, 0, 1, number("clone3")), (_RETURN, 0, 0, _ENOSYS)]
    code += [
        (_EQUAL, 0, 4, number("clone")),
        (_LOAD, 0, 0, _FIRST),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code += _sockets(unix=unix_sockets, others=other_sockets)
    code.append((_RETURN, 0, 0, _ALLOW))
    program = b"".join(struct.pack("HBBI", *each) for each in code)
    buffer = ctypes.create_string_buffer(program)
    description = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, description, 0, 0), "seccomp")


def _sockets(*, unix: bool, others: bool) -> list[tuple[int, int, int, int]]:
    """Return the rules for sockets; each that loads an argument ends in an answer."""
    code: list[tuple[int, int, int, int]] = []
    if not unix:
        # A pair of datagram sockets can be pointed at a name afterwards; a pair of streams cannot.
        code += [
            (_EQUAL, 0, 5, number("socketpair")),
            (_LOAD, 0, 0, _SECOND),
            (_AND, 0, 0, _KIND_OF_SOCKET),
            (_EQUAL, 0, 1, _SOCK_DGRAM),
            (_RETURN, 0, 0, _EACCES),
            (_RETURN, 0, 0, _ALLOW),
        ]
    if not (unix or others):
        code += [(_EQUAL, 0, 1, number("socket")), (_RETURN, 0, 0, _EACCES)]
    elif not (unix and others):
        code += [
            (_EQUAL, 0, 4, number("socket")),
            (_LOAD, 0, 0, _FIRST),
            (_EQUAL, *((1, 0) if unix else (0, 1)), _AF_UNIX),
            (_RETURN, 0, 0, _EACCES),
            (_RETURN, 0, 0, _ALLOW),
        ]
    return code


def _syscall(name: str, *arguments: int | bytes) -> int:
    converted = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    return _check(int(_libc.syscall(ctypes.c_long(number(name)), *converted)), name)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
