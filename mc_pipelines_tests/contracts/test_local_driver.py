"""The contract of drivers, run on the local driver with every mechanism that this machine has."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.errors import ConflictError, InputError
from mc_pipelines.runner.driver import Egress, End, Limits, Outcome, StartClass, Work
from mc_pipelines.runner.drivers.local import LocalDriver
from mc_pipelines.runner.sandbox.commands import Mechanism
from mc_pipelines.runner.sandbox.process import attempts_root, reap, start_time, user_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the local driver's sandbox is Linux's")
MECHANISMS = [
    Mechanism.NAMESPACES,
    Mechanism.LANDLOCK,
    pytest.param(Mechanism.BUBBLEWRAP, marks=pytest.mark.system),
]


@pytest.fixture(params=MECHANISMS)
def driver(request: pytest.FixtureRequest, need_program: Callable[[str, str], str]) -> LocalDriver:
    if request.param is Mechanism.BUBBLEWRAP:
        need_program("bwrap", "Debian package bubblewrap")
    return LocalDriver(SystemClock(), mechanism=request.param)


def run(driver: LocalDriver, *argv: str, **options: object) -> Outcome:
    return asyncio.run(driver.execute(Work(uuid4(), argv, **options)))  # type: ignore[arg-type]


def shell(driver: LocalDriver, script: str, **options: object) -> Outcome:
    return run(driver, "sh", "-c", script, **options)


def test_everything_is_enforced_and_says_how(driver: LocalDriver) -> None:
    outcome = run(driver, "true")
    assert (outcome.end, outcome.exit_code) == (End.SUCCEEDED, 0)
    for name, control in outcome.enforcement.document().items():
        assert control["enforced"], f"{name}: {control}"
        assert control["mechanism"] != "none"


def test_capabilities_are_what_a_trial_showed(driver: LocalDriver) -> None:
    found = asyncio.run(driver.capabilities())
    assert found.read_only_root
    assert found.egress == {Egress.NONE, Egress.OPEN}
    assert found.start_class is StartClass.WARM


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_codes_pass_through(driver: LocalDriver, code: int) -> None:
    outcome = shell(driver, f"exit {code}")
    assert outcome.exit_code == code
    assert outcome.end is (End.SUCCEEDED if code == 0 else End.FAILED)


def test_a_signal_is_128_and_its_number(driver: LocalDriver) -> None:
    assert shell(driver, "kill -9 $$").exit_code == 137


def test_a_command_that_does_not_exist(driver: LocalDriver) -> None:
    outcome = run(driver, "no-such-command")
    assert (outcome.end, outcome.exit_code) == (End.FAILED, 127)
    assert b"no-such-command: No such file or directory" in outcome.log


@pytest.mark.parametrize("path", ["/x", "/usr/x", "/etc/x", "/bin/x", "/var/x", "/root/x", "/home/x"])
def test_nothing_outside_can_be_written(driver: LocalDriver, path: str) -> None:
    outcome = shell(driver, f"echo x > {path}")
    assert outcome.end is End.FAILED
    assert not Path(path).exists()


def test_the_working_folder_and_tmp_can_be_written_and_are_gone_afterwards(driver: LocalDriver) -> None:
    outcome = shell(driver, 'echo kept > a && cat a && echo t > "$TMPDIR/t" && cat "$TMPDIR/t" && pwd')
    assert outcome.end is End.SUCCEEDED, outcome.log
    assert outcome.log.startswith(b"kept\nt\n")
    assert not list(attempts_root().iterdir())


def test_files_arrive_and_may_not_leave_the_working_folder(driver: LocalDriver) -> None:
    assert shell(driver, "cat in/a.txt", files={"in/a.txt": b"hello"}).log == b"hello"
    with pytest.raises(InputError, match="leaves the working folder"):
        shell(driver, "true", files={"../escape": b""})
    assert not list(attempts_root().iterdir())


def test_secrets_of_this_machine_cannot_be_read(driver: LocalDriver, tmp_path: Path) -> None:
    secret = tmp_path / "keyring"
    secret.write_text("secret")
    readable_by_all = tmp_path
    while readable_by_all.parent.name.startswith("pytest-"):
        readable_by_all.chmod(0o755)
        readable_by_all = readable_by_all.parent
    outcome = shell(driver, f"cat {secret} /etc/shadow /etc/passwd; ls {Path.home()}")
    assert outcome.end is End.FAILED
    assert b"secret" not in outcome.log.replace(str(secret).encode(), b"")
    assert b"root:" not in outcome.log


def test_the_environment_is_only_what_was_given(driver: LocalDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", "postgresql://u:hunter2@db/mc")
    outcome = run(driver, "env", environment={"GREETING": "hello"})
    lines = {line.split("=", 1)[0] for line in outcome.log.decode().splitlines()}
    assert lines - {"PWD", "SHLVL", "_"} == {"PATH", "HOME", "TMPDIR", "GREETING"}


_CONNECT = """
import socket, sys
for family, kind, address in [
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(sys.argv[1]))),
    (socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", int(sys.argv[1]))),
    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", int(sys.argv[1]))),
]:
    try:
        with socket.socket(family, kind) as each:
            each.settimeout(1)
            each.connect(address)
            each.send(b"x")
        print("REACHED", address)
    except OSError as error:
        print("refused", address, error.strerror)
"""


def test_no_egress_reaches_neither_loopback_nor_the_metadata_address(driver: LocalDriver) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = run(driver, "/usr/bin/python3", "-c", _CONNECT, str(server.getsockname()[1]))
    assert outcome.end is End.SUCCEEDED, outcome.log
    assert b"REACHED" not in outcome.log
    assert outcome.log.count(b"refused") == 4


def test_an_open_network_says_so_in_the_enforcement(driver: LocalDriver) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = run(driver, "/usr/bin/python3", "-c", _CONNECT, str(server.getsockname()[1]), egress=Egress.OPEN)
    assert b"REACHED ('127.0.0.1'" in outcome.log
    assert not outcome.enforcement.egress.enforced
    assert "open network was asked for" in outcome.enforcement.egress.evidence


@pytest.mark.parametrize("egress", [Egress.NONE, Egress.OPEN])
def test_a_program_that_listens_on_a_unix_socket_is_not_reached(driver: LocalDriver, egress: Egress) -> None:
    import socket

    attempts_root().joinpath("listening").mkdir(exist_ok=True)
    path = attempts_root() / "listening" / "socket"  # where every user may enter, as /run is
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            path.chmod(0o777)
            server.listen()
            connect = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r}); print('REACHED')"
            outcome = run(driver, "/usr/bin/python3", "-c", connect, egress=egress)
    finally:
        path.unlink()
        path.parent.rmdir()
    assert outcome.end is End.FAILED
    assert b"REACHED" not in outcome.log


_CLONE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
clone, clone3 = (220, 435) if os.uname().machine == "aarch64" else (56, 435)
for arguments in ((clone, 0x10000000 | 17, 0, 0, 0, 0), (clone3, 0, 0)):
    if libc.syscall(*arguments) == 0:
        os._exit(0)
    print(os.strerror(ctypes.get_errno()))
"""


def test_no_new_user_namespace_by_clone_either(driver: LocalDriver) -> None:
    outcome = run(driver, "/usr/bin/python3", "-c", _CLONE)
    assert outcome.log.decode().splitlines() == ["Operation not permitted", "Function not implemented"]


def test_a_command_that_closes_its_output_is_still_bound_by_the_wall_clock(driver: LocalDriver) -> None:
    outcome = shell(driver, "exec >&- 2>&-; sleep 300", limits=Limits(wall_seconds=0.5))
    assert outcome.end is End.TIMED_OUT


def test_what_a_command_leaves_behind_with_its_output_does_not_prolong_it(driver: LocalDriver) -> None:
    outcome = shell(driver, "sleep 300 & echo done", limits=Limits(wall_seconds=10))
    assert (outcome.end, outcome.log) == (End.SUCCEEDED, b"done\n")


def test_tmp_is_bounded(driver: LocalDriver) -> None:
    script = "for n in 1 2 3; do head -c 100M /dev/zero > /tmp/$n || exit 7; done"
    assert shell(driver, script).exit_code != 0


def command_lines() -> bytes:
    found = b""
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += each.read_bytes()
    return found


def test_a_long_environment_arrives_and_is_on_no_command_line(driver: LocalDriver) -> None:
    seen = b""

    async def watched() -> Outcome:
        nonlocal seen
        environment = {f"SECRET{n}": f"hunter2{'x' * 100_000}" for n in range(3)}
        work = Work(uuid4(), ("sh", "-c", "sleep 0.5; echo ${#SECRET2}"), environment=environment)
        running = asyncio.create_task(driver.execute(work))
        while not running.done():
            seen += command_lines()
            await asyncio.sleep(0.05)
        return await running

    assert asyncio.run(watched()).log == b"100007\n"
    assert b"hunter2" not in seen
    assert b"launcher" in seen


def test_an_allow_list_is_refused_because_this_driver_enforces_none(driver: LocalDriver) -> None:
    outcome = run(driver, "true", egress=Egress.FQDN)
    assert (outcome.end, outcome.exit_code, outcome.started_at) == (End.REFUSED, None, None)
    assert "not enforced" in outcome.reason


def test_no_way_back_to_privileges(driver: LocalDriver) -> None:
    script = "unshare -Ur true; mount -t tmpfs x /tmp; chroot / true; su -c true"
    outcome = shell(driver, script + "; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status")
    text = outcome.log.decode()
    if "CapEff" in text:
        assert "CapEff:\t0000000000000000" in text
        assert "NoNewPrivs:\t1" in text
    for command in ("unshare:", "mount:"):
        assert command in text


def test_the_wall_clock_ends_it_with_all_it_started(driver: LocalDriver) -> None:
    begun = time.monotonic()
    outcome = shell(driver, "sleep 300 & sleep 300; echo never", limits=Limits(wall_seconds=0.5))
    assert (outcome.end, time.monotonic() - begun < 10) == (End.TIMED_OUT, True)
    assert "longer than 0.5 s" in outcome.reason
    assert not list(attempts_root().iterdir())


def test_memory_and_processes_are_bounded(driver: LocalDriver) -> None:
    hungry = run(
        driver, "/usr/bin/python3", "-c", "bytearray(1 << 29); print('got it')", limits=Limits(memory_bytes=1 << 28)
    )
    assert hungry.end is End.FAILED
    assert b"MemoryError" in hungry.log
    breeder = shell(
        driver,
        "i=0; while [ $i -lt 40 ]; do sleep 20 & i=$((i+1)); done; echo all",
        limits=Limits(processes=12, wall_seconds=5),
    )
    assert b"all" not in breeder.log or breeder.end is not End.SUCCEEDED


def test_output_is_kept_to_its_limit_and_says_so(driver: LocalDriver) -> None:
    outcome = shell(driver, "head -c 3000000 /dev/zero; echo end", limits=Limits(log_bytes=1000))
    assert (len(outcome.log), outcome.log_truncated, outcome.end) == (1000, True, End.SUCCEEDED)
    exact = shell(driver, "head -c 1000 /dev/zero", limits=Limits(log_bytes=1000))
    assert (len(exact.log), exact.log_truncated) == (1000, False)


def test_output_that_is_not_utf8_and_both_streams_arrive_in_order(driver: LocalDriver) -> None:
    outcome = shell(driver, "printf '\\377a'; printf b >&2; printf c")
    assert outcome.log == b"\xffabc"


def test_processor_time_is_measured(driver: LocalDriver) -> None:
    busy = shell(driver, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
    assert busy.cpu_seconds > 0.05
    assert busy.started_at is not None
    assert busy.started_at <= busy.finished_at


def test_cancel_ends_it_and_keeps_the_reason(driver: LocalDriver) -> None:
    async def scenario() -> tuple[Outcome, bool, bool]:
        work = Work(uuid4(), ("sleep", "300"))
        running = asyncio.create_task(driver.execute(work))
        folder = attempts_root() / str(work.attempt_id)
        while not (folder / "process.json").exists():  # noqa: ASYNC110 - another thread makes it
            await asyncio.sleep(0.01)
        first = await driver.cancel(work.attempt_id, "no longer wanted")
        outcome = await running
        return outcome, first, await driver.cancel(work.attempt_id, "again")

    outcome, first, again = asyncio.run(scenario())
    assert (outcome.end, outcome.reason, first, again) == (End.CANCELLED, "no longer wanted", True, False)


def test_the_same_attempt_starts_once(driver: LocalDriver) -> None:
    async def scenario() -> list[object]:
        work = Work(uuid4(), ("sh", "-c", "sleep 0.5"))
        return list(await asyncio.gather(driver.execute(work), driver.execute(work), return_exceptions=True))

    answers = asyncio.run(scenario())
    assert sum(isinstance(answer, ConflictError) for answer in answers) == 1
    assert sum(isinstance(answer, Outcome) and answer.end is End.SUCCEEDED for answer in answers) == 1


_ABANDONED = """
import asyncio, sys
from uuid import UUID
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.runner.driver import Work
from mc_pipelines.runner.drivers.local import LocalDriver
from mc_pipelines.runner.sandbox.commands import Mechanism
work = Work(UUID(sys.argv[1]), ("sleep", "300"))
asyncio.run(LocalDriver(SystemClock(), mechanism=Mechanism(sys.argv[2])).execute(work))
"""


def test_what_a_killed_runner_left_is_reaped_and_the_living_are_not(driver: LocalDriver) -> None:
    import json
    import subprocess

    abandoned: UUID = uuid4()
    mechanism = driver._given
    assert mechanism is not None
    runner = subprocess.Popen([sys.executable, "-c", _ABANDONED, str(abandoned), str(mechanism)])
    record = attempts_root() / str(abandoned) / "process.json"
    deadline = time.monotonic() + 20
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    found = json.loads(record.read_text())
    runner.kill()
    runner.wait()
    assert reap(lambda: frozenset({abandoned})) == ()
    assert reap(frozenset) == (abandoned,)
    deadline = time.monotonic() + 5
    while start_time(found["pid"]) == found["started"] and time.monotonic() < deadline:
        state = Path(f"/proc/{found['pid']}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state == "Z":
            break
        time.sleep(0.02)
    else:
        assert start_time(found["pid"]) != found["started"]
    assert not record.parent.exists()


def test_attempts_at_once_do_not_see_each_other(driver: LocalDriver) -> None:
    async def scenario() -> list[Outcome]:
        script = "echo mine > f; sleep 0.2; ls; kill -9 -1 2>/dev/null; true"
        return list(await asyncio.gather(*(driver.execute(Work(uuid4(), ("sh", "-c", script))) for _ in range(4))))

    outcomes = asyncio.run(scenario())
    assert [outcome.log for outcome in outcomes] == [b"f\n"] * 4
    if os.geteuid() == 0:
        assert {outcome.end for outcome in outcomes} <= {End.SUCCEEDED, End.FAILED}


def test_attempts_of_one_user_wait_for_each_other(driver: LocalDriver) -> None:
    first = UUID(int=uuid4().int >> 1)
    second = UUID(int=first.int + 50_000)
    assert user_of(first) == user_of(second)

    async def scenario() -> list[Outcome]:
        works = (Work(first, ("sleep", "0.2")), Work(second, ("sleep", "0.6")))
        return list(await asyncio.gather(*(driver.execute(work) for work in works)))

    one, other = asyncio.run(scenario())
    assert [one.end, other.end] == [End.SUCCEEDED, End.SUCCEEDED]
    assert other.started_at is not None
    assert other.started_at >= one.finished_at
