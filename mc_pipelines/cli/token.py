"""`mc token`: a bearer token of the local issuer."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json

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
    if json:
        expires = rfc3339(now + timedelta(hours=hours))
        print_json({"token": issued, "issuer": LOCAL_ISSUER, "subject": subject, "expiresAt": expires})
    else:
        print(issued)
