"""Runs one attempt in a sandbox: start, judge the probes, let go, collect, end everything."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.errors import ConflictError, InputError
from mc_pipelines.runner.driver import Egress, End, Enforcement, Outcome, Work
from mc_pipelines.runner.sandbox.commands import Mechanism, command, copy_program
from mc_pipelines.runner.sandbox.judgement import judge, nothing_enforced
from mc_pipelines.runner.sandbox.spec import Probes, Spec

_FIRST_UID, _UIDS = 200_000, 50_000
_REPORT_SECONDS = 20
_REPORT_BYTES = 1 << 16
_READ_BYTES = 1 << 16
_MODES = {Mechanism.BUBBLEWRAP: "inside", Mechanism.NAMESPACES: "namespaces", Mechanism.LANDLOCK: "landlock"}


def attempts_root(house: str = "") -> Path:
    """The folder of running attempts of this user and house: enterable by all, listable by nobody else.

    Args:
        house: tells installations on one machine apart: a runner reaps what its own database does not know as living,
            so it must never see another's attempts.
    """
    root = Path(tempfile.gettempdir()) / "-".join(["mc-runner", str(os.geteuid()), *([house] if house else [])])
    root.mkdir(mode=0o711, exist_ok=True)
    if root.stat().st_uid != os.geteuid():
        raise InputError(
            "The folder of attempts belongs to another user", field="TMPDIR", value=str(root), mend="set TMPDIR"
        )
    return root


def user_of(attempt_id: UUID) -> int:
    """Return the user that an attempt runs as under root; two attempts may share one, but not at the same time."""
    return _FIRST_UID + attempt_id.int % _UIDS


@dataclass
class Attempt:
    """One attempt while it runs."""

    work: Work
    mechanism: Mechanism
    clock: Clock
    root: Path = field(default_factory=attempts_root)
    _process: subprocess.Popen[bytes] | None = None
    _report: int | None = None
    _cancelled: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """The attempt's own folder; it exists while the attempt runs."""
        return self.root / str(self.work.attempt_id)

    @property
    def uid(self) -> int | None:
        """The user that the command runs as: one of its own where we are root, so that attempts cannot meet."""
        return user_of(self.work.attempt_id) if os.geteuid() == 0 else None

    def run(self) -> Outcome:
        """Run to the end; blocks. The folder and every process of the attempt are gone afterwards.

        Raises:
            ConflictError: the attempt is running already.
            InputError: a file's path leaves the working folder.
        """
        try:
            self.folder.mkdir(mode=0o711)
        except FileExistsError as error:
            raise ConflictError(
                "This attempt was started already", field="attempt_id", value=str(self.work.attempt_id)
            ) from error
        try:
            self._lay_out()
            return self._start()
        finally:
            self._end_all()
            shutil.rmtree(self.folder, ignore_errors=True)

    def cancel(self, reason: str) -> None:
        """End the attempt; :meth:`run` then returns CANCELLED with the reason."""
        with self._lock:
            self._cancelled = reason
            if self._process is not None:
                _kill_group(self._process.pid)

    def _lay_out(self) -> None:
        workspace, canary = self.folder / "work", self.folder / "outside"
        for folder in (workspace, canary):
            folder.mkdir(mode=0o700)
        (canary / "secret").write_text("another tenant's file")
        for name, content in self.work.files.items():
            target = (workspace / name).resolve()
            if not target.is_relative_to(workspace.resolve()) or target == workspace.resolve():
                raise InputError("A file's path leaves the working folder", field="files", value=name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        copy_program(self.folder / "program")
        if self.uid is not None:
            for path in (workspace, canary, *workspace.rglob("*"), *canary.rglob("*")):
                os.chown(path, self.uid, self.uid)

    def _start(self) -> Outcome:
        report_read, report_write = os.pipe()
        go_read, go_write = os.pipe()
        self._report = report_read
        try:
            spec = self._spec(report_write, go_read)
            process = self._spawn(spec)
        finally:
            os.close(report_write)
            os.close(go_read)
        try:
            return self._supervise(process, go_write)
        finally:
            os.close(report_read)
            os.close(go_write)

    def _spec(self, report_fd: int, go_fd: int) -> Spec:
        limits = self.work.limits
        return Spec(
            mode=_MODES[self.mechanism],
            argv=self.work.argv,
            environment=dict(self.work.environment),
            workspace=str(self.folder / "work"),
            uid=self.uid,
            canary=str(self.folder / "outside"),
            open_network=self.work.egress is not Egress.NONE,
            cpu_seconds=limits.cpu_seconds,
            memory_bytes=limits.memory_bytes,
            processes=limits.processes,
            file_bytes=limits.file_bytes,
            report_fd=report_fd,
            go_fd=go_fd,
        )

    def _spawn(self, spec: Spec) -> subprocess.Popen[bytes]:
        uid = self.uid if self._unprivileged else None
        with self._lock, os.fdopen(os.memfd_create("mc-spec"), "w+b") as file:
            file.write(spec.to_json().encode())
            file.seek(0)
            process = subprocess.Popen(  # noqa: S603 - the command is what we are for; never a shell
                command(self.mechanism, spec, file.fileno(), self.folder / "program"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={},
                pass_fds=(spec.report_fd, spec.go_fd, file.fileno()),
                start_new_session=True,
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
            )
            self._process = process
        (self.folder / "process.json").write_text(json.dumps({"pid": process.pid, "started": start_time(process.pid)}))
        return process

    @property
    def _unprivileged(self) -> bool:
        """Bubblewrap is started as the attempt's own user; the launcher changes to it by itself."""
        return self.mechanism is Mechanism.BUBBLEWRAP and self.uid is not None

    def _supervise(self, process: subprocess.Popen[bytes], go: int) -> Outcome:
        probes = self._probes()
        if probes is None:
            log, _ = self._collect(process, time.monotonic() + 1)
            cause = log.decode(errors="replace").strip().splitlines()
            reason = f"the sandbox could not be built: {cause[-1] if cause else 'it ended without a report'}"
            return self._outcome(process, End.REFUSED, reason, nothing_enforced(self.mechanism, reason))
        enforcement = judge(probes, self.work, self.mechanism)
        missing = _missing(self.work, enforcement, probes)
        if missing:
            _kill_group(process.pid)
            return self._outcome(process, End.REFUSED, missing, enforcement)
        started_at = self.clock.now()
        with suppress(BrokenPipeError):
            os.write(go, b"go")
        log, ended = self._collect(process, time.monotonic() + self.work.limits.wall_seconds)
        end, reason = (None, "") if ended else (End.TIMED_OUT, f"ran longer than {self.work.limits.wall_seconds:g} s")
        return self._outcome(process, end, reason, enforcement, started_at, log)

    def _probes(self) -> Probes | None:
        content = self._read_report(_REPORT_SECONDS)
        if not content.endswith(b"\n"):
            return None
        probes = Probes.from_json(content)
        return probes if probes.mechanisms or not probes.failures else None

    def _reported_cpu(self) -> float:
        """The processor time that process 1 of the sandbox counted; none where the sandbox has no such process."""
        try:
            return float(self._read_report(0))
        except ValueError:
            return 0.0

    def _read_report(self, seconds: float) -> bytes:
        assert self._report is not None  # noqa: S101 - opened before the process
        ready, _, _ = select.select([self._report], [], [], seconds)
        return os.read(self._report, _REPORT_BYTES) if ready else b""

    def _collect(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
        """Read output until the process ends or the deadline passes; keep one byte more than the limit.

        The end of the output is not the end of the process, nor the other way round: either may outlive the other.
        """
        stream = process.stdout
        assert stream is not None  # noqa: S101 - asked for above
        kept = bytearray()
        most = self.work.limits.log_bytes + 1
        ended = os.pidfd_open(process.pid)
        watched = [stream.fileno(), ended]
        try:
            while (left := deadline - time.monotonic()) > 0:
                ready, _, _ = select.select(watched, [], [], left)
                if stream.fileno() in ready:
                    chunk = os.read(stream.fileno(), _READ_BYTES)
                    kept += chunk[: most - len(kept)]
                    if not chunk:
                        watched.remove(stream.fileno())
                elif ready:
                    return bytes(kept), True
            return bytes(kept), False
        finally:
            os.close(ended)
            _kill_group(process.pid)  # not waited for yet, so the number is still its group's

    def _outcome(
        self,
        process: subprocess.Popen[bytes],
        end: End | None,
        reason: str,
        enforcement: Enforcement,
        started_at: datetime | None = None,
        log: bytes = b"",
    ) -> Outcome:
        with suppress(BrokenPipeError, OSError):
            assert process.stdout is not None  # noqa: S101
            process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
        process.returncode = code
        if self._cancelled is not None:
            end, reason = End.CANCELLED, self._cancelled
        if end is None:
            end = End.SUCCEEDED if code == 0 else End.FAILED
            reason = f"exit code {code}"
        limit = self.work.limits.log_bytes
        return Outcome(
            end=end,
            exit_code=None if started_at is None else code,
            reason=reason,
            started_at=started_at,
            finished_at=self.clock.now(),
            cpu_seconds=max(usage.ru_utime + usage.ru_stime, self._reported_cpu()),
            log=log[:limit],
            log_truncated=len(log) > limit,
            enforcement=enforcement,
        )

    def _end_all(self) -> None:
        process = self._process
        if process is not None:
            if process.returncode is None:
                _kill_group(process.pid)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self.uid is not None:
            kill_processes_of(self.uid)


def reap(live: Callable[[], frozenset[UUID]], root: Path | None = None) -> tuple[UUID, ...]:
    """End and forget attempts whose runner died: folders, listed before ``live`` is asked, of attempts not in it."""
    found_here = {}
    for folder in (root or attempts_root()).iterdir():
        with suppress(ValueError):
            found_here[UUID(folder.name)] = folder
    living = live() if found_here else frozenset()
    reaped = []
    for attempt_id, folder in found_here.items():
        if attempt_id in living:
            continue
        with suppress(OSError, ValueError, KeyError):
            found = json.loads((folder / "process.json").read_text())
            if start_time(found["pid"]) == found["started"]:
                _kill_group(found["pid"])
        if os.geteuid() == 0:
            kill_processes_of(user_of(attempt_id))
        shutil.rmtree(folder, ignore_errors=True)
        reaped.append(attempt_id)
    return tuple(reaped)


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot: with its number it names it for ever."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def kill_processes_of(uid: int) -> None:
    """End every process of a user that is only ever one attempt's."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if entry.stat().st_uid == uid:
                os.kill(int(entry.name), signal.SIGKILL)


def _missing(work: Work, enforcement: Enforcement, probes: Probes) -> str:
    """Return why the command may not begin, or nothing: what it needs must hold."""
    if work.needs_read_only_root and not enforcement.read_only_root.enforced:
        return f"a read-only root is needed and not enforced: {enforcement.read_only_root.evidence}"
    if work.egress is Egress.NONE and not enforcement.egress.enforced:
        return f"no egress is allowed and that is not enforced: {enforcement.egress.evidence}"
    if work.egress in {Egress.IP, Egress.FQDN}:
        return f"an egress allow-list by {work.egress} is not enforced by this driver"
    if any(failure.startswith("privileges") for failure in probes.failures):
        return f"privileges could not be dropped: {probes.failures}"
    return ""


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
