"""The versions of the trust file: each signed, each vouched for by the one before it, none ever changed.

The root key is the service's signing key. A rotation issues the version that names the new key while the old one can
still sign, so whoever holds any version can follow all later ones without asking anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.attest import log
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.key_history import SERVICE, in_order, load_history
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.records import trust_version
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.trust import Trust, follow, read_payload
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import KeyId

_LOCK = "select pg_advisory_xact_lock(hashtextextended('mc_trust', 0))"


def draft_trust(connection: Connection, *, root: KeyId, origin: str = log.DEFAULT_ORIGIN) -> Trust:
    """Return what a verifier should believe now; witnesses and authorities are those of the newest version.

    Args:
        connection: any transaction.
        root: the key that may change the list from now on; it is in the key history.
        origin: the log's name.
    """
    records = in_order(load_history(connection))
    logs = tuple(NoteKey.ecdsa(origin, one.public_key_pem) for one in records if one.holder == SERVICE)
    newest = newest_trust(connection)
    if newest is None:
        return Trust(records, logs, root_keys=(root,))
    return replace(read_payload(newest), keys=records, logs=logs, root_keys=(root,), threshold=1)


def issue_trust(connection: Connection, draft: Trust, signers: Sequence[Signer], *, now: datetime) -> Envelope:
    """Sign and keep a draft as the next version; one that says what the newest version says is that version.

    Args:
        connection: the caller's transaction.
        draft: its version is set here.
        signers: of the newest version's root keys and of the draft's, a threshold each.
        now: aware.

    Raises:
        VerificationError: too few root keys of the newest version or of the draft signed.
    """
    connection.execute(text(_LOCK))
    newest = newest_trust(connection)
    if newest is None:
        envelope = replace(draft, version=1).signed(signers)
        Trust.from_json(envelope.to_json())
    else:
        before = read_payload(newest)
        if replace(before, version=1) == replace(draft, version=1):
            return newest
        envelope = replace(draft, version=before.version + 1).signed(signers)
        follow(before, envelope)
    content = envelope.to_json()
    version = read_payload(envelope).version
    connection.execute(insert(trust_version).values(version=version, envelope=content, issued_at=now))
    log.append(connection, act="attest.trust-issued", subject=f"trust/{version}", content=content, at=now)
    return envelope


def newest_trust(connection: Connection) -> Envelope | None:
    """Return the newest version of the trust file, or None where none was issued."""
    newest = select(func.max(trust_version.c.version)).scalar_subquery()
    content = connection.execute(select(trust_version.c.envelope).where(trust_version.c.version == newest)).scalar()
    return None if content is None else Envelope.from_json(bytes(content))


def trust_of(connection: Connection, version: int) -> Envelope:
    """Return a version of the trust file.

    Raises:
        NotFoundError: it was never issued.
    """
    content = connection.execute(select(trust_version.c.envelope).where(trust_version.c.version == version)).scalar()
    if content is None:
        raise NotFoundError("No such version of the trust file", field="--version", value=version)
    return Envelope.from_json(bytes(content))
