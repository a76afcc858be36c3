"""Keys: what there is, and their rotations with evidence."""

from typing import Any

import dagster as dg
from pydantic import Field

from mc_pipelines.defs.partitions import retries
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.tables import outcome, table


@dg.asset(
    group_name="keys",
    owners=["team:security"],
    kinds={"postgres"},
    code_version="1",
    retry_policy=retries(),
    description="Every key version: state, age, last use, and how many data keys depend on it.",
)
def key_inventory(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Take the inventory of the provider."""
    from mc_pipelines.keys.inventory import take_inventory

    context = maestro.open()
    with context.database.begin() as connection:
        entries = take_inventory(connection, context.keyring)
    now = context.clock.now()
    rows = [
        (one.version.ref, one.version.use, one.version.state, one.age(now).days, one.data_keys, one.due(now))
        for one in entries
    ]
    columns = ("version", "use", "state", "age (days)", "data keys", "rotation due")
    return dg.MaterializeResult(
        metadata={"versions": len(rows), "due": sum(row[-1] for row in rows), "keys": table(columns, rows)}
    )


class RotationRequest(dg.Config):
    """Which keys to rotate although they are not due, and why."""

    keys: list[str] = Field(default_factory=list)
    reason: str = "asked for in Dagster"


@dg.asset(
    group_name="keys",
    owners=["team:security"],
    deps=[key_inventory],
    kinds={"postgres"},
    code_version="1",
    pool="key_rotation",
    description="Rotations: keys that are due or asked for are rotated, interrupted ones are taken to their end.",
)
def key_rotations(config: RotationRequest, maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Rotate what is due; safe to repeat, since a rotation under way is found again."""
    from mc_pipelines.composition import signed_receipts
    from mc_pipelines.keys.rotation import Rotator, list_rotations
    from mc_pipelines.keys.standing import keys_to_rotate

    context = maestro.open()
    rotator = Rotator(
        context.database,
        context.keyring,
        context.clock,
        signed=lambda: signed_receipts(context),
        signer=lambda: context.signer,
    )
    reasons = dict.fromkeys(config.keys, config.reason)
    reasons |= dict.fromkeys(keys_to_rotate(context.database, context.keyring, context.clock.now()), "due or under way")
    for key, reason in reasons.items():
        rotator.run(rotator.plan(key, reason=reason).rotation_id)
    with context.database.begin() as connection:
        found = list_rotations(connection)
    rows = [
        (one.rotation_id, one.key, one.state, one.old_ref, one.new_ref, one.updated_at, one.reason) for one in found
    ]
    columns = ("rotation", "key", "state", "old", "new", "updated", "reason")
    return dg.MaterializeResult(metadata={"rotated": len(reasons), "rotations": table(columns, rows)})


@dg.asset_check(
    asset=key_rotations,
    blocking=True,
    description="The evidence of every finished rotation verifies with the old and the new key.",
)
def rotation_evidence_verifies(maestro: Maestro) -> dg.AssetCheckResult:
    """Verify the signed evidence of each rotation again."""
    from mc_pipelines.keys.standing import evidence_problems

    context = maestro.open()
    problems = evidence_problems(context.database, context.keyring)
    return dg.AssetCheckResult(**outcome(not problems, problems))


@dg.asset_check(asset=key_inventory, description="No primary key is older than its cryptoperiod of 90 days.")
def no_key_older_than_its_cryptoperiod(maestro: Maestro) -> dg.AssetCheckResult:
    """Warn where a rotation is due."""
    from mc_pipelines.keys.inventory import take_inventory

    context = maestro.open()
    with context.database.begin() as connection:
        entries = take_inventory(connection, context.keyring)
    now = context.clock.now()
    problems = [f"{one.version.ref} is {one.age(now).days} days old" for one in entries if one.due(now)]
    return dg.AssetCheckResult(severity=dg.AssetCheckSeverity.WARN, **outcome(not problems, problems))


@dg.asset_check(
    asset=key_inventory,
    blocking=True,
    description="Every object under receipts/, logs/ and inputs/ is sealed with a data key that can be opened.",
)
def nothing_is_stored_unsealed(maestro: Maestro) -> dg.AssetCheckResult:
    """Scan the first 512 bytes of each object."""
    from mc_pipelines.keys.scanner import scan

    context = maestro.open()
    report = scan(context.object_store, context.database, context.keyring)
    return dg.AssetCheckResult(
        **outcome(report.ok, [f"{each.path}: {each.defect}, {each.detail}" for each in report.findings])
    )
