"""Settings: environment variables with the prefix ``MC_``, all with a default that works on one machine."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Profile(StrEnum):
    """How strict the product is about where it runs."""

    LOCAL = "local"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """Every setting, its default and what it is for; `mc settings` prints them with their source."""

    model_config = SettingsConfigDict(env_prefix="MC_", extra="ignore", frozen=True)

    profile: Profile = Field(Profile.LOCAL, description="local | production; production refuses every local stand-in")
    home: Path = Field(Path(".mc"), description="folder of the embedded database, keys and files of the local profile")
    database_url: SecretStr | None = Field(None, description="our records, as role mc_app; unset: embedded server")
    database_admin_url: SecretStr | None = Field(None, description="our records, as role mc_owner; migrations only")
    dagster_database_url: SecretStr | None = Field(None, description="Dagster's own storage; unset: embedded server")
    object_store_url: str | None = Field(None, description="file://, s3://, gs:// or az://; unset: a folder in MC_HOME")
    policy_dir: Path | None = Field(None, description="folder of Rego packs; unset: the packs carried in the package")
    opa_url: str | None = Field(None, description="an OPA server; unset: regorus in process (local profile only)")
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

    @property
    def home_path(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().resolve()


@cache
def load_settings() -> Settings:
    """Read the environment once; tests call ``load_settings.cache_clear()``."""
    return Settings()
