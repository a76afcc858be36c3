"""The checks of `mc doctor`: each looks, changes nothing, and names the mend."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.settings import Profile, Settings, unknown_variables

_PACKAGES = ("dagster", "dagster-webserver", "dagster-postgres", "polars", "sqlalchemy", "obstore", "gordon-to-regorus")
_LOW_BYTES, _TOO_LOW_BYTES = 5 * 2**30, 2**29


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    state: State
    found: str
    mend: str | None = None


def all_checks(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """Run every check, in the order in which a person would mend."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        lambda: _settings(settings, environment),
        lambda: _profile(settings),
        lambda: _disk(settings),
        lambda: _database(settings),
        lambda: _object_store(settings),
        lambda: _policy_engine(settings),
        lambda: _ports(settings),
        _sandbox,
        _optional_programs,
    ]
    return [finding for check in checks for finding in _guarded(check)]


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except MaestroError as error:
        yield Finding(error.field or "check", State.FAIL, error.detail, error.mend)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    fine = (3, 11) <= sys.version_info < (3, 14)
    yield Finding("python", State.OK if fine else State.FAIL, version, None if fine else "use Python 3.11 to 3.13")


def _packages() -> Iterator[Finding]:
    missing, found = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding("packages", State.FAIL, "missing: " + ", ".join(missing), "install requirements.lock")
    else:
        yield Finding("packages", State.OK, ", ".join(found))


def _settings(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    unknown = unknown_variables(environment)
    for name, meant in unknown.items():
        yield Finding("settings", State.WARN, f"{name} is no setting", f"was {meant} meant?" if meant else "unset it")
    if not unknown:
        yield Finding("settings", State.OK, f"profile {settings.profile}, home {settings.home_path}")


def _profile(settings: Settings) -> Iterator[Finding]:
    from mc_pipelines.foundation.profile import local_defaults

    if settings.profile is Profile.PRODUCTION:
        for refusal in local_defaults(settings):
            yield Finding(
                "profile", State.FAIL, f"production refuses {refusal.what}", f"{refusal.setting}: {refusal.mend}"
            )


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = next(path for path in (settings.home_path, *settings.home_path.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    state = State.FAIL if free < _TOO_LOW_BYTES else State.WARN if free < _LOW_BYTES else State.OK
    yield Finding(
        "disk",
        state,
        f"{free / 2**30:.1f} GiB free at {folder}",
        None if state is State.OK else "free space, or set MC_HOME to another disk",
    )
    if not os.access(folder, os.W_OK):
        yield Finding("home", State.FAIL, f"{folder} is not writable", "set MC_HOME to a folder this user may write")


def _database(settings: Settings) -> Iterator[Finding]:
    from mc_pipelines.foundation.database import Database
    from mc_pipelines.foundation.embedded import is_running, urls_in
    from mc_pipelines.foundation.server import look, refuse_old
    from mc_pipelines.migrations.chain import CHAIN, is_rewritten

    if settings.database_url is None and not is_running(settings):
        yield Finding("database", State.WARN, "the embedded server does not run", "the next command starts it: mc up")
        return
    given = settings.database_url
    database = Database(given.get_secret_value() if given else urls_in(settings.home_path / "pg").app)
    try:
        facts = look(database)
        refuse_old(facts, database)
    finally:
        database.dispose()
    yield Finding("database", State.OK, f"PostgreSQL {facts.version} at {database.safe_url}")
    yield Finding(
        "database role",
        State.FAIL if facts.privileged else State.OK,
        facts.role,
        "connect as mc_app" if facts.privileged else None,
    )
    if is_rewritten(facts):
        yield Finding(
            "schema",
            State.FAIL,
            f"{facts.revision}, made by an earlier development version",
            "mc db stop, remove the folder that MC_HOME names, and start again",
        )
        return
    at_head = facts.revision == CHAIN[-1]
    yield Finding(
        "schema",
        State.OK if at_head else State.FAIL,
        f"{facts.revision or 'none'}, this code needs {CHAIN[-1]}",
        None
        if at_head
        else "mc db upgrade"
        if facts.revision in (None, *CHAIN)
        else "install the release that made it",
    )
    if at_head:
        yield from _flags(settings, urls_in(settings.home_path / "pg").app if given is None else database.url)


def _flags(settings: Settings, url: str) -> Iterator[Finding]:
    from mc_pipelines.foundation.database import Database
    from mc_pipelines.foundation.flags import NAMES, read_states, resolve

    database = Database(url)
    with database.begin() as connection:
        states = read_states(connection)
    database.dispose()
    off = [name for name in NAMES if not resolve(states, name, tenant=None, profile=settings.profile)]
    yield Finding("flags", State.OK, "off: " + (", ".join(off) or "none"))


def _object_store(settings: Settings) -> Iterator[Finding]:
    from uuid import uuid4

    from mc_pipelines.composition import object_store_url
    from mc_pipelines.foundation.object_store import open_object_store

    url = object_store_url(settings)
    if url.startswith("file://") and not Path(url.removeprefix("file://")).exists():
        yield Finding("object store", State.OK, f"{url}: made at the first object")
        return
    store, probe = open_object_store(url), f"doctor/{uuid4().hex}"
    store.put(probe, b"")
    store.delete(probe)
    yield Finding("object store", State.OK, f"{url}: written, read and deleted")


def _policy_engine(settings: Settings) -> Iterator[Finding]:
    if settings.opa_url is None:
        yield Finding("policy engine", State.OK, "regorus, in process")
        return
    import httpx

    try:
        if "{" in settings.opa_url:
            yield Finding("policy engine", State.OK, f"{settings.opa_url}: a server for each revision, not tried here")
            return
        httpx.get(settings.opa_url.rstrip("/") + "/health", timeout=3).raise_for_status()
    except httpx.HTTPError as error:
        yield Finding("policy engine", State.FAIL, f"{settings.opa_url}: {error}", "start OPA or correct MC_OPA_URL")
    else:
        yield Finding("policy engine", State.OK, settings.opa_url)


def _ports(settings: Settings) -> Iterator[Finding]:
    from mc_pipelines.foundation.processes import require_free_port

    for host, port, field in (
        (settings.api_host, settings.api_port, "MC_API_PORT"),
        ("127.0.0.1", settings.ui_port, "MC_UI_PORT"),
    ):
        try:
            require_free_port(host, port, field=field)
        except MaestroError as error:
            yield Finding(field, State.WARN, f"{error.detail}: by `mc up` if that runs", error.mend)
        else:
            yield Finding(field, State.OK, f"{host}:{port} is free")


def _sandbox() -> Iterator[Finding]:
    """Run ``true`` in the sandbox that executions would get, and say what its probes saw."""
    if sys.platform != "linux":
        yield Finding("sandbox", State.WARN, f"no local driver on {sys.platform}", "run executions on Linux")
        return
    from mc_pipelines.foundation.clock import SystemClock
    from mc_pipelines.runner.drivers.local import try_mechanisms

    mechanism, outcome = try_mechanisms(SystemClock())
    controls = outcome.enforcement.document()
    missing = {name: control for name, control in controls.items() if not control["enforced"]}
    if not missing:
        yield Finding("sandbox", State.OK, f"{mechanism}: {', '.join(controls)} enforced in a trial run")
    for name, control in missing.items():
        mend = str(control.get("mend", "install the Debian package bubblewrap"))
        found = f"{name} is not enforced by {mechanism}: {control['evidence']}"
        yield Finding("sandbox", State.WARN, found, f"{mend}; receipts say what was not enforced")


def _optional_programs() -> Iterator[Finding]:
    for program, what in (("chromium", "pictures of the asset graph"), ("opa", "the second policy engine")):
        path = shutil.which(program) or shutil.which(program, path=".tools/bin")
        yield Finding(program, State.OK, path or f"not installed; only needed for {what}")
