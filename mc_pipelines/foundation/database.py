"""PostgreSQL: URLs, engines, roles and transactions.

There are three URLs (docs/reference/settings.md): ``MC_DATABASE_URL`` connects as ``mc_app``, which may
only what the migrations granted it; ``MC_DATABASE_ADMIN_URL`` as ``mc_owner``, for migrations only;
``MC_DAGSTER_DATABASE_URL`` is Dagster's own storage. Services refuse to run as owner or superuser.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Row, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from mc_pipelines.foundation.errors import ConfigurationError, UnavailableError
from mc_pipelines.foundation.ids import TenantId

OWNER_ROLE = "mc_owner"
APP_ROLE = "mc_app"
DAGSTER_ROLE = "mc_dagster"
MINIMUM_SERVER_VERSION = 15
REFUSE_CHANGE = "mc_refuse_change"
"""The trigger function, made by revision 0001, that refuses every change."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""The one MetaData that every capability's ``records.py`` adds its tables to."""


def normalise_url(url: str, *, driver: str = "psycopg") -> str:
    """Return ``url`` with an explicit driver.

    A bare ``postgresql://`` means psycopg 3 to SQLAlchemy 2.1, on which Dagster's NOTIFY fails at the
    first run; so nobody is ever given a bare one (notes: dagster.md, section 0.2).

    Args:
        url: ``postgresql://``, ``postgres://`` or ``postgresql+<driver>://``.
        driver: ``psycopg`` for our own records, ``psycopg2`` for Dagster.

    Raises:
        ConfigurationError: it is no PostgreSQL URL.
    """
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    except ArgumentError as error:
        raise ConfigurationError(
            "Not a database URL", field="MC_DATABASE_URL", mend="write postgresql://user@host:5432/database"
        ) from error
    if parsed.get_backend_name() != "postgresql":
        raise ConfigurationError(
            "Only PostgreSQL is supported",
            field="MC_DATABASE_URL",
            value=parsed.get_backend_name(),
            mend="write postgresql://user@host:5432/database",
        )
    return parsed.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)


class Database:
    """A pool of connections to one database, as one role."""

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self.url = normalise_url(url)
        self._pool_size = pool_size
        self.engine: Engine = self._open(pool_pre_ping=True)

    def _open(self, **options: Any) -> Engine:
        engine = create_engine(
            self.url,
            pool_size=self._pool_size,
            max_overflow=self._pool_size,
            connect_args={"connect_timeout": 5, "options": "-c timezone=UTC"},
            **options,
        )
        # A command that ends, however it ends, leaves no connection open behind the pool.
        weakref.finalize(self, engine.dispose)
        return engine

    @cached_property
    def _reading(self) -> Engine:
        """Connections that stay outside transactions, opened when the first statement is read."""
        return self._open(isolation_level="AUTOCOMMIT")

    @contextmanager
    def begin(self, *, tenant: TenantId | None = None) -> Iterator[Connection]:
        """Open a transaction: committed at the end of the block, rolled back on an error.

        Args:
            tenant: sets ``mc.tenant`` for this transaction, which row-level security policies read.

        Raises:
            UnavailableError: the server cannot be reached.
        """
        with self._connect(self.engine) as connection, connection.begin():
            if tenant is not None:
                connection.execute(text("select set_config('mc.tenant', :tenant, true)"), {"tenant": tenant})
            yield connection

    def read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """Return the rows of one statement that only reads: one round trip, where a transaction takes four.

        Without a transaction there is no tenant, so tables under row-level security show nothing here. A pooled
        connection is not tried before it is used: where the server closed it meanwhile, the statement is sent again.

        Args:
            sql: as the driver takes it, with ``%(name)s`` for parameters: building it anew costs more than running it.
            parameters: by name.

        Raises:
            UnavailableError: the server cannot be reached.
        """
        try:
            return self._read(sql, parameters)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return self._read(sql, parameters)

    def _read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        with self._connect(self._reading) as connection:
            return connection.exec_driver_sql(sql, dict(parameters)).all()

    @contextmanager
    def _connect(self, engine: Engine) -> Iterator[Connection]:
        try:
            connection = engine.connect()
        except OperationalError as error:
            raise UnavailableError(
                f"The database does not answer: {_first_line(error)}",
                field="MC_DATABASE_URL",
                value=self.safe_url,
                mend="start it (`mc up` for the embedded one) or correct the URL; `mc doctor` says more",
            ) from error
        with connection:
            yield connection

    @property
    def safe_url(self) -> str:
        """The URL with its password masked."""
        return make_url(self.url).render_as_string(hide_password=True)

    def refuse_privileged_role(self) -> None:
        """Refuse to serve as a superuser or as the owner of the tables.

        Raises:
            ConfigurationError: the role could bypass grants, INSERT-only tables or row-level security.
        """
        with self.begin() as connection:
            role, privileged = connection.execute(
                text(
                    "select current_user, rolsuper or rolbypassrls or pg_has_role(current_user, :owner, 'member')"
                    " from pg_roles where rolname = current_user"
                ),
                {"owner": OWNER_ROLE},
            ).one()
        if privileged:
            raise ConfigurationError(
                "A service does not run as the owner of the tables or as a superuser",
                field="MC_DATABASE_URL",
                value=role,
                mend=f"connect as {APP_ROLE}; `mc db bootstrap --print-sql` shows how to create it",
            )

    def dispose(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()
        if "_reading" in self.__dict__:
            self._reading.dispose()


def grant_app(table: str, *privileges: str) -> str:
    """Return the SQL that gives the application role ``privileges`` on ``table``; for migrations.

    Sequences of serial and identity columns need no grant: identity columns are used throughout.
    """
    return f"grant {', '.join(privileges)} on {table} to {APP_ROLE}"


def insert_only(table: str) -> list[str]:
    """Return the SQL that makes ``table`` INSERT-only for everybody, owner included; for migrations."""
    trigger = (
        f"create trigger {table}_insert_only before update or delete or truncate on {table} "
        f"for each statement execute function {REFUSE_CHANGE}()"
    )
    return [grant_app(table, "select", "insert"), trigger]


def is_unique_violation(error: DBAPIError) -> bool:
    """Tell whether a database error is a broken UNIQUE or PRIMARY KEY constraint."""
    return getattr(error.orig, "sqlstate", None) == "23505"


def _first_line(error: Any) -> str:
    lines = str(getattr(error, "orig", error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
