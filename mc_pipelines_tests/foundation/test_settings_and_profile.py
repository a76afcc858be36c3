"""Settings name their source and mask secrets; production refuses every local stand-in; servers are looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from mc_pipelines.composition import open_context, open_database
from mc_pipelines.foundation.bootstrap import bootstrap, bootstrap_script
from mc_pipelines.foundation.errors import ConfigurationError, UnavailableError
from mc_pipelines.foundation.profile import local_defaults, refuse_local_defaults
from mc_pipelines.foundation.server import look, refuse_old, refuse_unsuitable
from mc_pipelines.foundation.settings import Profile, Settings, describe, load_settings, unknown_variables
from mc_pipelines.migrations import chain
from mc_pipelines.migrations.chain import CHAIN, sources_digest
from mc_pipelines_tests.conftest import TestDatabase

COMPLETE = {
    "database_url": SecretStr("postgresql://mc_app:geheim@db.example/mc"),
    "dagster_database_url": SecretStr("postgresql://mc_dagster@db.example/mc_dagster"),
    "oidc_issuer": "https://idp.example",
    "signing_key_url": SecretStr("awskms:///alias/mc"),
    "keyring_passphrase": SecretStr("geheim"),
    "opa_url": "http://opa.example:8181",
}
STAND_INS = {
    "database_url": "the embedded database server",
    "dagster_database_url": "the embedded database server",
    "oidc_issuer": "the local token issuer",
    "signing_key_url": "the local signing key",
    "keyring_passphrase": "a keyring sealed by file mode alone",
    "opa_url": "the embedded policy engine",
}


@pytest.mark.parametrize("missing", sorted(STAND_INS))
def test_production_refuses_each_stand_in_by_name(missing: str) -> None:
    settings = Settings(profile=Profile.PRODUCTION, **(COMPLETE | {missing: None}))
    with pytest.raises(ConfigurationError) as refusal:
        refuse_local_defaults(settings)
    assert STAND_INS[missing] in str(refusal.value)
    assert f"MC_{missing.upper()}" in str(refusal.value)
    assert len(local_defaults(settings)) == 1


def test_production_with_everything_named_is_accepted_and_local_refuses_nothing() -> None:
    refuse_local_defaults(Settings(profile=Profile.PRODUCTION, **COMPLETE))
    refuse_local_defaults(Settings(profile=Profile.LOCAL))


def test_all_refusals_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        open_context(Settings(profile=Profile.PRODUCTION))
    assert all(what in str(refusal.value) for what in STAND_INS.values())


def test_every_setting_is_described_with_its_source_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "MC_KEYRING_PASSPHRASE").write_text("geheim")
    environment = {
        "MC_API_PORT": "9000",
        "MC_DATABASE_URL": "postgresql://mc_app:geheim@db.example/mc",
        "MC_SECRETS_DIR": str(tmp_path),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    lines = {line.name: line for line in describe(load_settings(), environment)}
    assert len(lines) == len(Settings.model_fields)
    assert (lines["MC_API_PORT"].value, lines["MC_API_PORT"].source) == ("9000", "environment")
    assert (lines["MC_KEYRING_PASSPHRASE"].value, lines["MC_KEYRING_PASSPHRASE"].source) == ("***", "file")
    assert lines["MC_UI_PORT"].source == "default"
    assert lines["MC_DATABASE_URL"].value == "postgresql://mc_app:***@db.example/mc"
    assert all(line.description for line in lines.values())
    assert "geheim" not in repr(lines)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MC_API_PORT", "eighty"), ("MC_PROFILE", "prod"), ("MC_LOG_LEVEL", "LOUD"), ("MC_SECRETS_DIR", "/nowhere")],
)
def test_a_value_that_a_setting_cannot_have_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"field {variable} = {value}"):
        load_settings()


def test_a_mistyped_variable_is_noticed() -> None:
    assert unknown_variables({"MC_DATABSE_URL": "x", "MC_HOME": "y", "PATH": "z"}) == {
        "MC_DATABSE_URL": "MC_DATABASE_URL"
    }


def test_a_database_that_is_down_is_named_without_its_password() -> None:
    settings = Settings(database_url=SecretStr("postgresql://mc_app:geheim@127.0.0.1:1/mc"))
    with pytest.raises(UnavailableError, match=r"does not answer.*MC_DATABASE_URL = .*127\.0\.0\.1") as refusal:
        open_database(settings)
    assert "geheim" not in str(refusal.value)


def test_the_script_for_an_administrator_holds_no_password_and_every_role() -> None:
    script = bootstrap_script("records", "control's")
    for part in ("create role mc_owner login", "create role mc_app", "create role mc_dagster", '"records"'):
        assert part in script
    assert "control''s" in script
    assert script.count("\\password") == 3


@pytest.mark.database
def test_a_server_too_old_is_refused_with_its_version(database: TestDatabase) -> None:
    facts = replace(look(database.app), version="14.9", major=14)
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 14\.9 is too old: 15"):
        refuse_old(facts, database.app)


@pytest.mark.database
def test_a_service_refuses_to_run_as_owner_or_superuser(database: TestDatabase) -> None:
    for url in (database.owner.url, database.superuser_url):
        with pytest.raises(ConfigurationError, match="owner of the tables or as a superuser"):
            open_database(Settings(database_url=SecretStr(url)))
    refuse_unsuitable(look(database.app), database.app)


@pytest.mark.database
@pytest.mark.parametrize(
    ("revision", "expected"), [("9999_future", "newer than this code"), ("0003_keys", "behind this code")]
)
def test_a_schema_of_another_release_is_refused(database: TestDatabase, revision: str, expected: str) -> None:
    sources = sources_digest(revision) if revision in CHAIN else "of the future"
    with database.owner.begin() as connection:
        connection.execute(text("update alembic_version set version_num = :revision"), {"revision": revision})
        connection.execute(text(f"comment on table alembic_version is '{sources}'"))
    with pytest.raises(ConfigurationError, match=expected):
        open_database(Settings(database_url=SecretStr(database.app.url)))


@pytest.mark.database
def test_a_schema_of_revisions_that_were_rewritten_since_is_refused_until_the_release(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=SecretStr(database.app.url))
    open_database(settings).dispose()
    with database.owner.begin() as connection:
        connection.execute(text("comment on table alembic_version is 'sha256:of what stood there before'"))
    with pytest.raises(ConfigurationError, match=r"earlier development version.*make it anew"):
        open_database(settings)
    monkeypatch.setattr(chain, "version", lambda _: "0.8.0")
    open_database(settings).dispose()


@pytest.mark.database
def test_an_administrator_is_needed_to_create_roles(database: TestDatabase) -> None:
    with pytest.raises(ConfigurationError, match=r"may not prepare the server.*--print-sql"):
        bootstrap(database.app.url, database="mc_never_made", dagster_database="mc_never_made_either")
