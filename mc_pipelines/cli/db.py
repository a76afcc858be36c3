"""`mc db`: create, upgrade, inspect and stop the database."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="Create, upgrade and inspect the database.", no_args_is_help=True)


@app.command()
def bootstrap(
    url: Annotated[str | None, typer.Option(help="URL of an administrator; unset: the embedded server.")] = None,
    print_sql: Annotated[bool, typer.Option("--print-sql", help="Print the psql script and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create the roles mc_owner, mc_app, mc_dagster and the databases; what is there stays.

    Passwords of the roles are taken from the URLs in the settings.

    Example: mc db bootstrap --print-sql | psql -h db.example -U postgres
    """
    from mc_pipelines.foundation.bootstrap import bootstrap as create
    from mc_pipelines.foundation.bootstrap import bootstrap_script
    from mc_pipelines.foundation.embedded import ensure_running
    from mc_pipelines.foundation.settings import load_settings

    settings = load_settings()
    names, passwords = _from_settings(settings)
    if print_sql:
        script = bootstrap_script(**names)
        print_json({"sql": script}) if as_json else print(script, end="")
        return
    if url is None:
        if settings.database_url is not None:
            from mc_pipelines.foundation.errors import InputError

            raise InputError(
                "An administrator's URL is needed to create roles",
                field="--url",
                mend="give --url postgresql://postgres@host/postgres, or run `mc db bootstrap --print-sql`",
            )
        ensure_running(settings)
        created: list[str] = []
    else:
        created = create(url, **names, passwords=passwords)
    if as_json:
        print_json({"created": created})
    else:
        print("\n".join(created) if created else "nothing to create: roles and databases are there")


@app.command()
def upgrade(as_json: Json = False) -> None:
    """Bring our schema to the newest revision, as the owner.

    Example: MC_DATABASE_ADMIN_URL=postgresql://mc_owner@db.example/mc mc db upgrade
    """
    from mc_pipelines.foundation.database import Database
    from mc_pipelines.foundation.embedded import ensure_running
    from mc_pipelines.foundation.errors import ConfigurationError
    from mc_pipelines.foundation.server import look, refuse_old
    from mc_pipelines.foundation.settings import load_settings
    from mc_pipelines.migrations.chain import CHAIN, refuse_rewritten
    from mc_pipelines.migrations.upgrade import upgrade as migrate

    settings = load_settings()
    if settings.database_admin_url is not None:
        owner_url = settings.database_admin_url.get_secret_value()
    elif settings.database_url is None:
        owner_url = str(ensure_running(settings).owner)
    else:
        raise ConfigurationError(
            "Migrations run as the owner of the tables",
            field="MC_DATABASE_ADMIN_URL",
            mend="set it to a URL of role mc_owner for this one command",
        )
    owner = Database(owner_url)
    facts = look(owner)
    refuse_old(facts, owner)
    refuse_rewritten(facts, safe_url=owner.safe_url)
    if facts.revision is not None and facts.revision not in CHAIN:
        raise ConfigurationError(
            "The schema of the database is newer than this code",
            field="revision",
            value=facts.revision,
            mend=f"install the release that made it; this one knows revisions up to {CHAIN[-1]}",
        )
    reached = facts.revision if facts.revision == CHAIN[-1] else migrate(owner)
    if as_json:
        print_json({"from": facts.revision, "to": reached})
    elif facts.revision == reached:
        print(f"at {reached}: nothing to do")
    else:
        print(f"{facts.revision or 'empty'} -> {reached}")


@app.command()
def status(as_json: Json = False) -> None:
    """Say which server this is, as which role we come, and where the schema stands. Starts nothing.

    Example: mc db status --json
    """
    from mc_pipelines.foundation.database import Database
    from mc_pipelines.foundation.embedded import is_running, urls_in
    from mc_pipelines.foundation.profile import refuse_local_defaults
    from mc_pipelines.foundation.server import look
    from mc_pipelines.foundation.settings import load_settings
    from mc_pipelines.migrations.chain import CHAIN, is_rewritten

    settings = load_settings()
    embedded = settings.database_url is None
    if embedded:
        refuse_local_defaults(settings)
    facts: dict[str, Any] = {"embedded": embedded, "running": True, "head": CHAIN[-1]}
    if embedded and not is_running(settings):
        facts |= {"running": False, "url": None}
    else:
        given = settings.database_url
        database = Database(given.get_secret_value() if given is not None else urls_in(settings.home_path / "pg").app)
        found = look(database)
        facts |= {
            "url": database.safe_url,
            "role": found.role,
            "privileged": found.privileged,
            "server_version": found.version,
            "revision": found.revision,
            "behind": found.revision is None or found.revision in CHAIN[:-1],
            "newer": found.revision is not None and found.revision not in CHAIN,
            "rewritten": is_rewritten(found),
        }
    if as_json:
        print_json(facts)
    else:
        print_table(("database", ""), facts.items())


@app.command()
def stop(as_json: Json = False) -> None:
    """Stop the embedded server of this home; its data stays.

    Example: mc db stop
    """
    from mc_pipelines.foundation.embedded import stop as stop_server
    from mc_pipelines.foundation.settings import load_settings

    stopped = stop_server(load_settings())
    if as_json:
        print_json({"stopped": stopped})
    else:
        print("stopped" if stopped else "it was not running")


def _from_settings(settings: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return database names and role passwords as the URLs of the settings have them."""
    from sqlalchemy.engine import make_url

    names: dict[str, str] = {}
    passwords: dict[str, str] = {}
    for secret, argument in (
        (settings.database_url, "database"),
        (settings.database_admin_url, "database"),
        (settings.dagster_database_url, "dagster_database"),
    ):
        if secret is not None:
            url = make_url(secret.get_secret_value())
            if url.database:
                names[argument] = url.database
            if url.username and url.password:
                passwords[url.username] = str(url.password)
    return names, passwords
