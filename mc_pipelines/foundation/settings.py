"""Settings: environment variables with the prefix ``MC_``, all with a default that works on one machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mc_pipelines.foundation.errors import ConfigurationError

ENV_PREFIX = "MC_"
SECRETS_DIR = "MC_SECRETS_DIR"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_OTHER_VARIABLES = {SECRETS_DIR, "MC_DATA_DIR", "MC_TEST_DATABASE_URL", "MC_REQUIRE_ALL"}
"""Variables with our prefix that are no settings: of tests and of this module."""


class Profile(StrEnum):
    """How strict the product is about where it runs."""

    LOCAL = "local"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """Every setting, its default and what it is for; `mc settings` prints them with their source."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    profile: Profile = Field(Profile.LOCAL, description="local | production; production refuses every local stand-in")
    home: Path = Field(Path(".mc"), description="folder of the embedded database, keys and files of the local profile")
    database_url: SecretStr | None = Field(None, description="our records, as role mc_app; unset: embedded server")
    database_admin_url: SecretStr | None = Field(None, description="our records, as role mc_owner; migrations only")
    dagster_database_url: SecretStr | None = Field(None, description="Dagster's own storage; unset: embedded server")
    object_store_url: str | None = Field(None, description="file://, s3://, gs:// or az://; unset: a folder in MC_HOME")
    signing_key_url: SecretStr | None = Field(
        None, description="key that signs, file:///KEY.pem or awskms:///alias/NAME; unset: one of the local keyring"
    )
    signing_key_passphrase: SecretStr | None = Field(None, description="opens a signing key in an encrypted file")
    keyring_passphrase: SecretStr | None = Field(None, description="seals the local keyring; unset: mode 0600 alone")
    witnesses: str | None = Field(None, description="witnesses of the audit log, URL#VERIFIERKEY, spaces between them")
    tsa_url: str | None = Field(None, description="RFC 3161 authority that stamps credit notes; unset: none")
    policy_dir: Path | None = Field(None, description="folder of Rego packs; unset: the packs carried in the package")
    provenance_trust: Path | None = Field(None, description="whose signatures ingest believes; unset: ours alone")
    opa_url: str | None = Field(
        None,
        description="an OPA server; {revision} and {pack} stand for what is asked; unset: regorus, local profile only",
    )
    api_host: str = Field("127.0.0.1", description="address the HTTP API binds")
    api_port: int = Field(8080, description="port of the HTTP API", ge=0, le=65535)
    ui_port: int = Field(3000, description="port of the Dagster UI", ge=0, le=65535)
    oidc_issuer: str | None = Field(None, description="OIDC issuer of bearer tokens; unset: the local issuer")
    oidc_audience: str = Field("maestro-conductor", description="audience that tokens must name")
    metrics_token: SecretStr | None = Field(None, description="bearer token that /metrics asks for; unset: none")
    first_day: date = Field(date(2024, 1, 1), description="first UTC day of the daily partitions in Dagster")
    webhook_url: str | None = Field(None, description="receives an HTTP POST for every failed Dagster run")
    log_level: str = Field("INFO", description="DEBUG | INFO | WARNING | ERROR")
    log_json: bool = Field(default=False, description="log lines as JSON objects")

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in LOG_LEVELS:
            raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
        return value.upper()

    @property
    def home_path(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().resolve()


@cache
def load_settings() -> Settings:
    """Read the environment once; tests call ``load_settings.cache_clear()``.

    ``MC_SECRETS_DIR`` may name a folder that holds a file per setting, each named like its variable (a mounted
    Kubernetes secret); a variable in the environment wins over the file.

    Raises:
        ConfigurationError: a setting has a value it cannot have.
    """
    folder = os.environ.get(SECRETS_DIR)
    if folder is not None and not Path(folder).is_dir():
        raise ConfigurationError(
            "The folder of secrets does not exist", field=SECRETS_DIR, value=folder, mend="mount it, or unset this"
        )
    try:
        return Settings(_secrets_dir=folder)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        secret = "SecretStr" in str(Settings.model_fields[name].annotation) if name in Settings.model_fields else True
        raise ConfigurationError(
            f"A setting has a value it cannot have: {first['msg']}",
            field=variable_of(name.removeprefix(ENV_PREFIX.lower())),
            value=None if secret else first["input"],
            mend="`mc settings --help` and docs/reference/settings.md say what each may be",
        ) from error


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting as `mc settings` prints it."""

    name: str
    value: str | None
    """Shown value; secrets are masked."""
    source: str
    """``environment``, ``file`` or ``default``."""
    description: str


def describe(settings: Settings, environment: Mapping[str, str]) -> list[SettingLine]:
    """Return every setting with its value and where that came from, secrets masked."""
    present = {name.upper() for name in environment}
    folder = environment.get(SECRETS_DIR)
    files = {file.name.upper() for file in Path(folder).iterdir()} if folder else set()
    lines = []
    for name, field in Settings.model_fields.items():
        variable = variable_of(name)
        source = "environment" if variable in present else "file" if variable in files else "default"
        value = getattr(settings, name)
        shown = None if value is None else _masked(value) if isinstance(value, SecretStr) else str(value)
        lines.append(SettingLine(variable, shown, source, field.description or ""))
    return lines


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the MC_ variables that mean nothing here, each with the setting that was probably meant."""
    known = {variable_of(name) for name in Settings.model_fields}
    return {
        name: next(iter(get_close_matches(name, known, n=1)), None)
        for name in sorted(environment)
        if name.startswith(ENV_PREFIX) and name not in known | _OTHER_VARIABLES
    }


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return ENV_PREFIX + name.upper()


def _masked(secret: SecretStr) -> str:
    """Show a URL without its password, and of any other secret only that it is set."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(secret.get_secret_value()).render_as_string(hide_password=True)
    except ArgumentError:
        return "***"
