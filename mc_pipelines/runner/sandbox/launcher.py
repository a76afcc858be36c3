"""Runs in the child, before the command: builds the sandbox, tries to break it, reports, and becomes the command.

Standard library only, and everything is imported before the root changes. The order matters: namespaces and
mounts need privileges, so they come first; then the user is changed; then privileges are given up for good;
then the probes look from where the command will stand.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import sys
from contextlib import suppress

try:
    from mc_pipelines.runner.sandbox import linux
    from mc_pipelines.runner.sandbox.spec import DEVICES, PATH, READABLE, TMP_BYTES, WORK, Probes, Spec
except ImportError:  # inside bubblewrap only this folder is there
    import linux  # type: ignore[import-not-found, no-redef]
    from spec import DEVICES, PATH, READABLE, TMP_BYTES, WORK, Probes, Spec  # type: ignore[import-not-found, no-redef]

_PORT = 9
_NOT_FOUND, _NOT_EXECUTABLE, _NO_SANDBOX = 127, 126, 125
_ISOLATED = linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP


def main(spec_fd: int) -> None:
    """Build the sandbox of the spec in a file and become its command; never returns."""
    with os.fdopen(spec_fd, "rb") as file:
        spec = Spec.from_json(file.read().decode())
    linux.die_with_parent(signal.SIGKILL)
    mechanisms: dict[str, str] = {}
    failures: list[str] = []
    if spec.mode == "namespaces":
        try:
            _enter_namespaces(spec)
            mechanisms["root"] = mechanisms["reads"] = "mount namespace with a read-only root of its own"
            mechanisms["network"] = "network namespace without an interface"
        except OSError as error:
            os.write(spec.report_fd, Probes([], [], [], [], [], {}, [f"namespaces: {error}"]).to_json())
            os._exit(_NO_SANDBOX)
    elif spec.mode == "inside":
        mechanisms = dict.fromkeys(("root", "reads", "network"), "bubblewrap")
        _fork_from_first_process(spec)
    _become_the_command(spec, mechanisms, failures)


def _enter_namespaces(spec: Spec) -> None:
    """Unshare, become process 1 of the new tree, and build the root; the outer process waits and mirrors the end."""
    own_user = os.geteuid() != 0
    uid, gid = os.geteuid(), os.getegid()
    network = 0 if spec.open_network else linux.CLONE_NEWNET
    linux.unshare(_ISOLATED | network | (linux.CLONE_NEWUSER if own_user else 0))
    if own_user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    first = os.fork()
    if first:
        os.close(spec.report_fd)
        os.close(spec.go_fd)
        _mirror(first)
    linux.die_with_parent(signal.SIGKILL)
    _build_root(spec)
    _fork_from_first_process(spec)


def _build_root(spec: Spec) -> None:
    """Make a root of a tmpfs with the readable folders bound read-only, the workspace, /tmp, /dev and /proc."""
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    root = os.path.join(spec.canary, "root")  # noqa: PTH118 - plain strings: this runs between fork and exec
    os.mkdir(root)  # noqa: PTH102
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=1m")
    for path in READABLE:
        _bind(path, root + path, linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV)
    os.makedirs(root + "/dev", exist_ok=True)  # noqa: PTH103
    for path in DEVICES:
        _bind(path, root + path, linux.MOUNT_ATTR_NOSUID)
    _bind(spec.workspace, root + WORK, linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV)
    for name in ("/tmp", "/proc", "/old"):  # noqa: S108 - inside the new root
        os.mkdir(root + name)  # noqa: PTH102
    flags = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("tmpfs", root + "/tmp", "tmpfs", flags, f"mode=1777,size={TMP_BYTES}")  # noqa: S108
    with suppress(OSError):  # refused where the machine's own /proc is masked; the command then has none
        linux.mount("proc", root + "/proc", "proc", flags)
    linux.pivot_root(root, root + "/old")
    os.chdir("/")
    linux.unmount("/old")
    os.rmdir("/old")  # noqa: PTH106
    _remount_root_read_only()
    os.chdir(WORK)


def _remount_root_read_only() -> None:
    ms_remount, ms_readonly = 0x20, 0x1
    flags = linux.MS_BIND | ms_remount | ms_readonly | linux.MS_NOSUID | linux.MS_NODEV
    linux.mount(None, "/", None, flags)


def _bind(source: str, target: str, attributes: int) -> None:
    if os.path.islink(source):  # noqa: PTH114
        os.symlink(os.readlink(source), target)  # noqa: PTH115, PTH211
        return
    if not os.path.exists(source):  # noqa: PTH110
        return
    if os.path.isdir(source):  # noqa: PTH112
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
    linux.set_mount_attributes(target, attributes)


def _become_the_command(spec: Spec, mechanisms: dict[str, str], failures: list[str]) -> None:
    _limit(spec)
    if spec.mode == "landlock":
        os.chdir(spec.workspace)
    _drop_privileges(spec, failures)
    own_root = spec.mode != "landlock"
    workspace = WORK if own_root else spec.workspace
    _confine(spec, workspace, mechanisms, failures)
    probes = Probes(
        write_leaks=_write_leaks(spec, workspace),
        read_leaks=_read_leaks(spec),
        network_leaks=[] if spec.open_network else _network_leaks(),
        limit_leaks=_limit_leaks(spec),
        privilege_leaks=_privilege_leaks(),
        mechanisms=mechanisms,
        failures=failures,
    )
    os.write(spec.report_fd, probes.to_json())
    if os.read(spec.go_fd, 2) != b"go":
        os._exit(_NO_SANDBOX)
    os.close(spec.report_fd)
    os.close(spec.go_fd)
    variables = {"PATH": PATH, "HOME": workspace, "TMPDIR": "/tmp" if own_root else workspace}  # noqa: S108
    variables.update(spec.environment)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ["PATH"] = PATH
    try:
        os.execvpe(spec.argv[0], list(spec.argv), variables)  # noqa: S606 - a command is what we are for
    except OSError as error:
        os.write(2, f"mc: {spec.argv[0]}: {os.strerror(error.errno or 0)}\n".encode())
        os._exit(_NOT_FOUND if error.errno == errno.ENOENT else _NOT_EXECUTABLE)


def _limit(spec: Spec) -> None:
    for which, value in _limits(spec):
        resource.setrlimit(which, (value, value))


def _limits(spec: Spec) -> list[tuple[int, int]]:
    return [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, spec.cpu_seconds),
        (resource.RLIMIT_AS, spec.memory_bytes),
        (resource.RLIMIT_FSIZE, spec.file_bytes),
        (resource.RLIMIT_NPROC, spec.processes),
        (resource.RLIMIT_NOFILE, 1024),
    ]


def _drop_privileges(spec: Spec, failures: list[str]) -> None:
    try:
        linux.drop_bounding_set()
        if spec.uid is not None and os.geteuid() == 0 and spec.mode != "inside":
            os.setgroups([])
            os.setresgid(spec.uid, spec.uid, spec.uid)
            os.setresuid(spec.uid, spec.uid, spec.uid)
        linux.drop_capabilities()
        linux.forbid_new_privileges()
    except OSError as error:
        failures.append(f"privileges: {error}")


def _confine(spec: Spec, workspace: str, mechanisms: dict[str, str], failures: list[str]) -> None:
    """Landlock and seccomp: the only confinement where there are no namespaces, a second one where there are."""
    own_root = spec.mode != "landlock"
    readable = ["/"] if own_root else [*READABLE, "/dev"]
    writable = [workspace, *DEVICES, *(("/tmp",) if own_root else ())]  # noqa: S108
    try:
        linux.landlock(readable, writable, forbid_tcp=not spec.open_network)
        mechanisms.setdefault("root", "Landlock")
        mechanisms.setdefault("reads", "Landlock")
        mechanisms["landlock"] = f"ABI {linux.landlock_version()}"
    except OSError as error:
        failures.append(f"Landlock: {error}")
    try:
        # In the machine's own root a Unix socket would reach its other programs: a database, an agent of keys.
        linux.forbid_system_calls(unix_sockets=own_root, other_sockets=spec.open_network)
        mechanisms.setdefault("network", "seccomp: no sockets")
        mechanisms["seccomp"] = "filter"
    except OSError as error:
        failures.append(f"seccomp: {error}")


def _write_leaks(spec: Spec, workspace: str) -> list[str]:
    leaks = [f"wrote into {folder}" for folder in ("/", "/usr", "/etc", spec.canary) if _can_write(folder)]
    if not _can_write(workspace):
        leaks.append("the working folder is not writable")
    return leaks


def _can_write(folder: str) -> bool:
    path = os.path.join(folder, f".mc-probe-{os.getpid()}")  # noqa: PTH118
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108
    return True


def _read_leaks(spec: Spec) -> list[str]:
    path = os.path.join(spec.canary, "secret")  # noqa: PTH118
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return []
    return ["read a file outside the working folder"]


def _network_leaks() -> list[str]:
    """Try this machine itself: where even loopback refuses by name of the port, the network was reached."""
    leaks = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as stream:
                stream.settimeout(0.5)
                stream.connect((address, _PORT))
            leaks.append(f"connected to {address} by TCP")
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                leaks.append(f"reached {address} by TCP")
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as datagram:
            datagram.sendto(b"probe", (address, _PORT))
            leaks.append(f"sent to {address} by UDP")
    return leaks


def _privilege_leaks() -> list[str]:
    leaks = [] if linux.new_privileges_forbidden() else ["no_new_privs is not set"]
    return [*leaks, "capabilities are left"] if linux.holds_capabilities() else leaks


def _limit_leaks(spec: Spec) -> list[str]:
    return [f"limit {which} is {resource.getrlimit(which)}" for which, value in _limits(spec)
            if resource.getrlimit(which) != (value, value)]  # fmt: skip


def _mirror(child: int) -> None:
    """Wait for the first process of the sandbox and end as it did."""
    _, status = os.waitpid(child, 0)
    os._exit(_code(status))


def _fork_from_first_process(spec: Spec) -> None:
    """Go on as a child of process 1, which collects orphans and ends, with all that is left, after the command.

    It reports the processor time of everything it collected: bubblewrap does not pass that on.
    """
    command = os.fork()
    if not command:
        return
    os.close(spec.go_fd)
    while True:
        pid, status = os.wait()
        if pid == command:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            os.write(spec.report_fd, f"{used.ru_utime + used.ru_stime:.6f}\n".encode())
            os._exit(_code(status))


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


if __name__ == "__main__":
    main(int(sys.argv[1]))
