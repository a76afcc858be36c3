"""Evidence of a rotation: an in-toto statement about both versions, and what the old key signed verified again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from mc_pipelines.attest.dsse import Envelope, verify
from mc_pipelines.attest.signer import Signer, spki_der
from mc_pipelines.attest.statement import Statement, Subject, predicate_type
from mc_pipelines.foundation.canonical import digest_of, sha256_digest
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import MaestroError, VerificationError
from mc_pipelines.keys.provider import KeyProvider, KeyUse, KeyVersion

PREDICATE_TYPE = predicate_type("key-rotation")
_SHOWN = 5


def reverify(signed: Iterable[tuple[str, bytes]], old: Signer) -> dict[str, Any]:
    """Verify again what the old key signed; return the count and a digest over what was verified.

    Args:
        signed: name and DSSE envelope in JSON; those that name another key are passed over and counted.
        old: the key that is rotated out; only its public half is used.

    Raises:
        VerificationError: an envelope that names the key does not verify, or is malformed.
    """
    verified, failed, others = [], [], 0
    for name, content in signed:
        try:
            envelope = Envelope.from_json(content)
            if all(one.keyid != old.key_id for one in envelope.signatures):
                others += 1
                continue
            verify(envelope, {old.key_id: old.public_key_pem})
        except MaestroError:
            failed.append(name)
            continue
        verified.append([name, sha256_digest(content)])
    if failed:
        raise VerificationError(
            f"{len(failed)} envelopes of the old key do not verify: {', '.join(failed[:_SHOWN])}",
            mend="find out who altered them before the key is retired",
        )
    return {"verified": len(verified), "of_other_keys": others, "verified_digest": digest_of(sorted(verified))}


def rotation_statement(
    provider: KeyProvider,
    *,
    rotation_id: str,
    key: str,
    use: KeyUse,
    old_ref: str,
    new_ref: str,
    reason: str,
    history: Sequence[dict[str, Any]],
    verified: dict[str, Any],
    at: datetime,
) -> Statement:
    """Return the statement of a rotation; its subjects are the old and the new version."""
    inventory = [one for one in provider.inventory() if one.key == key]
    subjects = tuple(_subject(provider, ref, use, inventory) for ref in (old_ref, new_ref))
    return Statement(
        subjects,
        PREDICATE_TYPE,
        {
            "rotation_id": rotation_id,
            "provider": provider.name,
            "key": key,
            "use": use.value,
            "old": old_ref,
            "new": new_ref,
            "reason": reason,
            "verified": verified,
            "history": list(history),
            "inventory": [_entry(one) for one in inventory],
            "stated_at": rfc3339(at),
        },
    )


def _subject(provider: KeyProvider, ref: str, use: KeyUse, inventory: Sequence[KeyVersion]) -> Subject:
    if use is KeyUse.SIGN:
        return Subject(ref, {"sha256": sha256(spki_der(provider.public_key(ref))).hexdigest()})
    # A symmetric key has no public half: what stands for it is its check value, never a digest of the key.
    return Subject(ref, {"keyCheckValue": next(one.check_value for one in inventory if one.ref == ref)})


def _entry(one: KeyVersion) -> dict[str, Any]:
    return {
        "ref": one.ref,
        "state": one.state.value,
        "primary": one.primary,
        "created": rfc3339(one.created),
        "check_value": one.check_value,
    }
