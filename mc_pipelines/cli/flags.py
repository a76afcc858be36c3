"""`mc flags`: show and set feature flags."""

from __future__ import annotations

from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="Show and set feature flags.", no_args_is_help=True)


@app.command("ls")
def list_flags(as_json: Json = False) -> None:
    """List every flag: its state for all, and for tenants that have their own.

    Example: mc flags ls
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.flags import NAMES, read_states, resolve
    from mc_pipelines.foundation.records import ALL_TENANTS

    context = open_context()
    with context.database.begin() as connection:
        states = read_states(connection)
    rows = [
        {
            "flag": name,
            "tenant": ALL_TENANTS,
            "enabled": resolve(states, name, tenant=None, profile=context.settings.profile),
            "source": "set" if (name, ALL_TENANTS) in states else f"default of the {context.settings.profile} profile",
        }
        for name in NAMES
    ]
    rows += [
        {"flag": name, "tenant": scope, "enabled": state, "source": "set"}
        for (name, scope), state in sorted(states.items())
        if scope != ALL_TENANTS and name in NAMES
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("flag", "tenant", "enabled", "source"), [tuple(row.values()) for row in rows])


@app.command("set")
def set_state(
    name: Annotated[str, typer.Argument(help="Name of the flag.")],
    state: Annotated[str, typer.Argument(help="on | off")],
    tenant: Annotated[str | None, typer.Option(help="For one tenant; unset: for all.")] = None,
    as_json: Json = False,
) -> None:
    """Set a flag; the change is an act of the audit log.

    Example: mc flags set runner_azure_preview on --tenant acme
    """
    import getpass

    from mc_pipelines.attest.log import append
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.canonical import canonical_json
    from mc_pipelines.foundation.clock import rfc3339
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.foundation.flags import set_flag
    from mc_pipelines.foundation.ids import TenantId, parse_name

    if state not in {"on", "off"}:
        raise InputError("A flag is on or off", field="state", value=state, mend="write on or off")
    scope = None if tenant is None else TenantId(parse_name(tenant, field="tenant"))
    context = open_context()
    now, by = context.clock.now(), getpass.getuser()
    with context.database.begin() as connection:
        changed = set_flag(connection, name, state == "on", by=by, now=now, tenant=scope)
        if changed:
            act = {"flag": name, "tenant": scope, "enabled": state == "on", "by": by, "at": rfc3339(now)}
            append(connection, act="flag.set", subject=name, content=canonical_json(act), at=now)
    if as_json:
        print_json({"flag": name, "tenant": scope, "enabled": state == "on", "changed": changed})
    else:
        print(f"{name} is {state}" + (f" for {scope}" if scope else "") + ("" if changed else ", as before"))
