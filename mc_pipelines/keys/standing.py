"""How keys stand: which ones want rotation, and whether the evidence of past rotations still verifies."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, text

from mc_pipelines.attest.dsse import Envelope, verify
from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.keys.inventory import take_inventory
from mc_pipelines.keys.provider import KeyProvider, KeyUse
from mc_pipelines.keys.records import OPEN_STATES, kms_rotation
from mc_pipelines.keys.rotation import Rotation, list_rotations


def keys_to_rotate(database: Database, provider: KeyProvider, now: datetime) -> list[str]:
    """Return the keys whose primary version is due, and those with a rotation under way, by name."""
    with database.begin() as connection:
        due = {one.version.key for one in take_inventory(connection, provider) if one.due(now)}
        under_way = select(kms_rotation.c.key).where(kms_rotation.c.provider == provider.name, text(OPEN_STATES))
        return sorted(due | set(connection.execute(under_way).scalars()))


def evidence_problems(database: Database, provider: KeyProvider) -> list[str]:
    """Verify the evidence of every finished rotation; return what does not hold, in words.

    A signing key's evidence must be signed by the old and the new version; a wrapping key's by a signing key that
    the provider has.
    """
    with database.begin() as connection:
        rotations = [one for one in list_rotations(connection, limit=1_000) if one.finished]
    return [problem for one in rotations if (problem := _problem(one, provider)) is not None]


def _problem(rotation: Rotation, provider: KeyProvider) -> str | None:
    if rotation.evidence is None:
        return f"{rotation.rotation_id} ended in {rotation.state} without evidence"
    signing = [one.ref for one in provider.inventory() if one.use is KeyUse.SIGN]
    wanted = [rotation.old_ref, rotation.new] if rotation.use is KeyUse.SIGN else signing
    keys = {thumbprint(pem): pem for pem in (provider.public_key(ref) for ref in wanted)}
    try:
        verify(Envelope.from_json(rotation.evidence), keys, threshold=2 if rotation.use is KeyUse.SIGN else 1)
    except MaestroError as error:
        return f"{rotation.rotation_id}: {error}"
    return None
