"""`mc token`: a bearer token of the local issuer."""

from __future__ import annotations

import sys
from datetime import timedelta
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mc_pipelines.cli.output import Json, print_json

if TYPE_CHECKING:
    from mc_pipelines.foundation.settings import Settings

app = typer.Typer(help="Issue a bearer token of the local issuer.")


@app.command()
def token(
    subject: Annotated[str, typer.Option(help="The person's subject; see `mc people ls`.")],
    tenant: Annotated[list[str] | None, typer.Option(help="A tenant the bearer may act for; repeatable.")] = None,
    hours: Annotated[float, typer.Option(help="How long the token holds.", min=0.01, max=720)] = 8,
    json: Json = False,
) -> None:
    """Print a token for the HTTP API; the local profile only.

    Example: curl -H "Authorization: Bearer $(mc token --subject dana --tenant acme)" localhost:8080/api/credits
    """
    from mc_pipelines.api.local_issuer import LOCAL_ISSUER, LocalIssuer
    from mc_pipelines.foundation.clock import SystemClock, rfc3339
    from mc_pipelines.foundation.errors import ConfigurationError
    from mc_pipelines.foundation.settings import Profile, load_settings

    settings = load_settings()
    if settings.oidc_issuer or settings.profile is Profile.PRODUCTION:
        raise ConfigurationError(
            "This machine accepts tokens of an OIDC issuer only",
            field="MC_OIDC_ISSUER",
            value=settings.oidc_issuer,
            mend="get the token from that issuer",
        )
    now = SystemClock().now()
    issued = LocalIssuer(settings.home_path).issue(
        subject,
        tenants=tenant or [],
        audience=settings.oidc_audience,
        now=now,
        lifetime=timedelta(hours=hours),
    )
    if _is_unknown(settings, subject):
        print(
            f"warning: no person is recorded as {subject!r}, and the API will refuse most requests;"
            f" `mc people ls` shows all, `mc people put --issuer {LOCAL_ISSUER} --subject {quote(subject)} --name NAME"
            " --role ROLE` records one",
            file=sys.stderr,
        )
    if json:
        expires = rfc3339(now + timedelta(hours=hours))
        print_json({"token": issued, "issuer": LOCAL_ISSUER, "subject": subject, "expiresAt": expires})
    else:
        print(issued)


def _is_unknown(settings: Settings, subject: str) -> bool:
    """Tell whether the database answers and has no such person; a token needs no database, so none is started."""
    from sqlalchemy.exc import SQLAlchemyError

    from mc_pipelines.api.local_issuer import LOCAL_ISSUER
    from mc_pipelines.foundation.database import Database
    from mc_pipelines.foundation.embedded import is_running, urls_in
    from mc_pipelines.foundation.errors import MaestroError
    from mc_pipelines.foundation.tenants import find_person

    given = settings.database_url
    if given is None and not is_running(settings):
        return False
    try:
        database = Database(given.get_secret_value() if given is not None else urls_in(settings.home_path / "pg").app)
        with database.begin() as connection:
            return find_person(connection, LOCAL_ISSUER, subject) is None
    except (MaestroError, SQLAlchemyError):
        return False
