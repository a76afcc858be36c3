"""Dagster's own records, in the database that our settings name.

So every tool of Dagster (`dg check defs`, `dagster dev`) works from a clean clone as `mc` does: on the embedded server
where MC_DAGSTER_DATABASE_URL is unset. And nobody can give it a bare ``postgresql://``, which SQLAlchemy 2.1 reads as
psycopg 3, on which Dagster's NOTIFY fails at the first run.
"""

from collections.abc import Mapping
from typing import Any, Self

from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from mc_pipelines.foundation.database import normalise_url
from mc_pipelines.foundation.embedded import ensure_running
from mc_pipelines.foundation.errors import ConfigurationError
from mc_pipelines.foundation.settings import Profile, Settings, load_settings


class SettingsStorage(DagsterPostgresStorage):
    """PostgreSQL storage without configuration of its own."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing: the settings say it."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003 - the base's signature
    ) -> Self:
        """Open the storage; start the embedded server where that is used."""
        return cls(dagster_url(load_settings()), inst_data=inst_data)


def dagster_url(settings: Settings) -> str:
    """Return the URL of Dagster's own database, with the driver that it needs.

    Raises:
        ConfigurationError: production without a URL, or only one of the two URLs is set.
        UnavailableError: the embedded server does not start.
    """
    if settings.dagster_database_url is not None:
        return normalise_url(settings.dagster_database_url.get_secret_value(), driver="psycopg2")
    if settings.profile is Profile.PRODUCTION:
        raise ConfigurationError(
            "The production profile refuses the embedded database server",
            field="MC_DAGSTER_DATABASE_URL",
            mend="name a PostgreSQL database of Dagster's own",
        )
    return ensure_running(settings).dagster
