"""`mc keys`: inventory, rotation and its evidence, scan for unsealed objects."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from mc_pipelines.keys.rotation import Rotation

app = typer.Typer(help="Inventory and rotation of keys.", no_args_is_help=True)


@app.command()
def ls(json: Json = False) -> None:
    """List every key version: state, age, last use, and how many data keys depend on it.

    Example: mc keys ls --json
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.keys.inventory import take_inventory

    context = open_context()
    with context.database.begin() as connection:
        entries = take_inventory(connection, context.keyring)
    now = context.clock.now()
    rows: list[dict[str, Any]] = [
        {
            "ref": one.version.ref,
            "use": one.version.use,
            "state": one.version.state,
            "primary": one.version.primary,
            "created": one.version.created,
            "last_used": one.version.last_used,
            "check_value": one.version.check_value,
            "data_keys": one.data_keys,
            "sole_data_keys": one.sole_data_keys,
            "rotation_due": one.due(now),
        }
        for one in entries
    ]
    if json:
        print_json(rows)
        return
    print_table(
        ("version", "use", "state", "created", "last used", "data keys", "only here", "due"),
        [
            (
                row["ref"] + (" *" if row["primary"] else ""),
                row["use"],
                row["state"],
                row["created"],
                row["last_used"] or "never",
                row["data_keys"],
                row["sole_data_keys"],
                "yes" if row["rotation_due"] else "",
            )
            for row in rows
        ],
        title="Keys (* primary)",
    )


@app.command()
def rotate(
    key: Annotated[str, typer.Option("--key", help="Which key: signer or kek.")] = "signer",
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the evidence.")] = "scheduled",
    signed: Annotated[
        Path | None, typer.Option("--signed", help="Folder of DSSE envelopes to verify again before the old key goes.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    json: Json = False,
) -> None:
    """Rotate a key to its end, or take up a rotation that was interrupted.

    Example: mc keys rotate --key kek --dry-run
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.errors import ConfigurationError
    from mc_pipelines.keys.rotation import STEPS, Rotator

    context = open_context()
    if key == "signer" and context.settings.signing_key_url is not None:
        raise ConfigurationError(
            "The signing key is held elsewhere, and rotated there",
            field="MC_SIGNING_KEY_URL",
            mend="make a new key there and let the alias or the file name it; both keys stay in the history",
        )
    primary = context.keyring.primary(key)
    if dry_run:
        plan = {"key": key, "old": primary.ref, "steps": STEPS[primary.use], "changed": False}
        print_json(plan) if json else print(f"{primary.ref}: " + " → ".join(STEPS[primary.use]) + " (nothing changed)")
        return

    def envelopes() -> list[tuple[str, bytes]]:
        return [] if signed is None else [(one.name, one.read_bytes()) for one in sorted(signed.glob("*.json"))]

    rotator = Rotator(context.database, context.keyring, context.clock, signed=envelopes, signer=lambda: context.signer)
    _print(rotator.run(rotator.plan(key, reason=reason).rotation_id), json=json)


@app.command()
def rotations(json: Json = False) -> None:
    """List rotations, newest first.

    Example: mc keys rotations
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.keys.rotation import list_rotations

    context = open_context()
    with context.database.begin() as connection:
        found = list_rotations(connection)
    if json:
        print_json([_facts(one) for one in found])
        return
    print_table(
        ("rotation", "key", "state", "old", "new", "planned", "reason"),
        [(one.rotation_id, one.key, one.state, one.old_ref, one.new_ref, one.planned_at, one.reason) for one in found],
    )


@app.command()
def show(
    rotation: Annotated[str, typer.Argument(help="Id of the rotation.")],
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Print only the signed evidence, for mc verify.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a rotation, its history (the chain of digests is checked) and its evidence.

    Example: mc keys show 019bd732-f680-792b-929d-4d9711cdfa06 --evidence > rotation.json
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.errors import NotFoundError
    from mc_pipelines.foundation.ids import parse_uuid
    from mc_pipelines.keys.rotation import find_rotation, read_history

    context = open_context()
    with context.database.begin() as connection:
        found = find_rotation(connection, parse_uuid(rotation, field="rotation"))
        history = read_history(connection, found.rotation_id)
    if evidence:
        if found.evidence is None:
            raise NotFoundError("The rotation has no evidence yet", field="state", value=found.state)
        print(found.evidence.decode())
        return
    if json:
        print_json(_facts(found) | {"history": history})
        return
    _print(found, json=False)
    print_table(("step", "at", "detail"), [(one["state"], one["at"], one["detail"]) for one in history])


@app.command()
def scan(json: Json = False) -> None:
    """Check that every receipt and log is sealed and in its place; exit 1 if not.

    Example: mc keys scan --json
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.keys.scanner import scan as run_scan

    context = open_context()
    report = run_scan(context.object_store, context.database, context.keyring)
    if json:
        findings = [{"path": one.path, "defect": one.defect, "detail": one.detail} for one in report.findings]
        print_json({"ok": report.ok, "scanned": report.scanned, "sealed": report.sealed, "findings": findings})
    else:
        print(f"{report.scanned} objects, {report.sealed} sealed, {len(report.findings)} findings")
        if report.findings:
            print_table(("path", "defect", "detail"), [(one.path, one.defect, one.detail) for one in report.findings])
    if not report.ok:
        raise typer.Exit(1)


def _facts(one: Rotation) -> dict[str, Any]:
    return {
        "rotation_id": one.rotation_id,
        "provider": one.provider,
        "key": one.key,
        "state": one.state,
        "old": one.old_ref,
        "new": one.new_ref,
        "reason": one.reason,
        "planned_at": one.planned_at,
        "updated_at": one.updated_at,
        "detail": one.detail,
        "evidence": None if one.evidence is None else json_module.loads(one.evidence),
    }


def _print(one: Rotation, *, json: bool) -> None:
    if json:
        print_json(_facts(one))
        return
    print(f"{one.rotation_id}  {one.key}  {one.old_ref} → {one.new_ref or '(not made)'}  {one.state}")
    if one.evidence is not None:
        print(f"evidence: mc keys show {one.rotation_id} --evidence")
