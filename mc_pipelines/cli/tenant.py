"""`mc tenant`: zone, currency, residency and contracts of tenants."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="Tenants: zone, currency, residency, contracts.", no_args_is_help=True)


@app.command("ls")
def list_all(as_json: Json = False) -> None:
    """List all tenants.

    Example: mc tenant ls --json
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.tenants import list_tenants

    with open_context().database.begin() as connection:
        tenants = list_tenants(connection)
    if as_json:
        print_json([asdict(tenant) for tenant in tenants])
    else:
        print_table(
            ("tenant", "zone", "currency", "residency", "data class", "contracts"),
            [
                (t.tenant, t.zone, t.currency, ", ".join(t.residency), t.data_class, ", ".join(t.contracts))
                for t in tenants
            ],
        )


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of the tenant.")], as_json: Json = False) -> None:
    """Show one tenant.

    Example: mc tenant show acme
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.foundation.tenants import get_tenant

    with open_context().database.begin() as connection:
        tenant = asdict(get_tenant(connection, TenantId(name)))
    print_json(tenant) if as_json else print_table(("tenant", name), tenant.items())


@app.command()
def put(
    name: Annotated[str, typer.Argument(help="Name: a-z, 0-9, dot, underscore, hyphen.")],
    zone: Annotated[str, typer.Option(help="IANA zone of the billing calendar.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")],
    residency: Annotated[list[str] | None, typer.Option(help="Jurisdiction its data may rest in; repeatable.")] = None,
    data_class: Annotated[str, typer.Option(help="public | internal | confidential | restricted")] = "internal",
    contract: Annotated[list[str] | None, typer.Option(help="Contract it is under; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Record a tenant, or replace what is recorded of it.

    Example: mc tenant put acme --zone Europe/Berlin --currency EUR --residency EU
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.foundation.tenants import Tenant, put_tenant

    tenant = Tenant(TenantId(name), zone, currency, tuple(residency or ()), data_class, tuple(contract or ()))
    context = open_context()
    with context.database.begin() as connection:
        put_tenant(connection, tenant, now=context.clock.now())
    print_json(asdict(tenant)) if as_json else print(f"recorded {name}")
