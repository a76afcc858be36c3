"""Two people look at a draft and sign the same bytes, each with a key that never leaves their side."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from mc_pipelines.attest.dsse import Envelope, verify
from mc_pipelines.attest.key_history import KeyRecord, load_history, record_key
from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import Clock, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, MaestroError, VerificationError
from mc_pipelines.foundation.ids import KeyId
from mc_pipelines.foundation.records import person_key
from mc_pipelines.foundation.tenants import Person, get_person, is_same_person, key_holder, list_people
from mc_pipelines.sla import records
from mc_pipelines.sla.calendar import Period
from mc_pipelines.sla.contract_store import Assigned, get_contract
from mc_pipelines.sla.draft import draft_period, end_draft, require_writable
from mc_pipelines.sla.draft_store import OPEN, REJECTED, Draft, Signed, get_draft, lock, write_signature
from mc_pipelines.sla.limits import DEFAULT_LIMITS, Limits

MAKER, CHECKER = "finance-maker", "finance-checker"
LONGEST_REASON = 500


def approve(
    database: Database,
    clock: Clock,
    draft_id: str,
    person: Person,
    envelope: Envelope,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Draft:
    """Add a person's signature to a draft; the first is the maker's, the others are checkers'.

    A refusal changes nothing but the audit log, which records it.

    Args:
        database: as mc_app.
        clock: now.
        draft_id: the draft, or an unambiguous beginning of its id.
        person: who is signed in.
        envelope: the draft's payload with exactly one signature, made by that person.
        limits: what a maker may sign in a day.

    Returns:
        The draft with the signature; once it is complete, ``issue_completed`` writes the note.

    Raises:
        NotFoundError: no such draft.
        ConflictError: the draft is not open any more, or has all its signatures.
        VerificationError: another payload was signed, or the signature does not hold.
        ForbiddenError: the wrong role, the same person or key twice, a key of somebody else, over a limit.
        UnavailableError: credits are read-only.
    """
    now = clock.now()
    try:
        with database.begin() as connection:
            draft = get_draft(connection, draft_id)
            lock(connection, repr(draft.subject))
            draft = get_draft(connection, draft.draft_id)
            require_writable(connection, draft.subject.tenant)
            replay = _replayed(draft, person, envelope)
            if replay is not None:
                return replay
            signed = _check(connection, draft, person, envelope, now=now, limits=limits)
            write_signature(connection, draft.draft_id, signed)
            _publish_key(connection, signed, person, now)
            content = canonical_json(
                {"draft": draft.draft_id, "position": signed.position, "key": signed.key_id, "at": rfc3339(now)}
            )
            append(connection, act="credits.approved", subject=draft.draft_id, content=content, at=now)
            return get_draft(connection, draft.draft_id)
    except MaestroError as error:
        audit_refusal(database, "credits.approval-refused", draft_id, person, error, now)
        raise


def _publish_key(connection: Connection, signed: Signed, person: Person, now: datetime) -> None:
    """Put a signer's key into the key history, where verifiers outside find it in the trust file."""
    if signed.key_id not in {one.key_id for one in load_history(connection)}:
        pem = public_key(connection, signed.key_id)
        since = connection.execute(
            select(person_key.c.valid_from).where(person_key.c.key_id == signed.key_id)
        ).scalar_one()
        holder = f"person/{person.person_id}"
        record_key(connection, KeyRecord(signed.key_id, pem, since, holder=holder), now=now)


def _replayed(draft: Draft, person: Person, envelope: Envelope) -> Draft | None:
    """Return the draft when this very signature is on it already: a retry is no second approval."""
    given = {one.sig for one in envelope.signatures}
    same = any(one.person_id == person.person_id and one.signature in given for one in draft.signatures)
    return draft if same and len(given) == 1 and envelope.payload == draft.payload else None


def _check(
    connection: Connection, draft: Draft, person: Person, envelope: Envelope, *, now: datetime, limits: Limits
) -> Signed:
    _require_open(draft, now)
    position = len(draft.signatures) + 1
    role = MAKER if position == 1 else CHECKER
    if role not in person.roles:
        raise ForbiddenError(
            f"Signature {position} of this draft takes the role {role}",
            field="role",
            value=sorted(person.roles),
            mend=f"let a {role} sign",
        )
    key_id, sig = _one_signature(connection, draft, person, envelope, now)
    for earlier in draft.signatures:
        other = get_person(connection, earlier.person_id)
        if earlier.key_id == key_id or is_same_person(person, other):
            raise ForbiddenError(
                "The same person cannot sign twice, by whatever name or key", field="person", mend="let another sign"
            )
    if position == 1:
        # Makers' signatures are counted one after the other, whatever drafts they are on and whatever alias signs.
        lock(connection, "makers")
    if position == 1 and not limits.maker_may_sign(draft.amount, _signed_today(connection, person, draft, now)):
        raise ForbiddenError(
            "This would take the maker over the sum of a day",
            field="amount",
            value=str(draft.amount),
            mend="let another maker sign, or wait until tomorrow (UTC)",
        )
    return Signed(position, person.person_id, key_id, sig, now)


def _require_open(draft: Draft, now: datetime) -> None:
    if draft.state != OPEN:
        raise ConflictError(f"The draft is {draft.state}", field="draft", value=draft.draft_id)
    if now >= draft.expires_at:
        raise ConflictError("The draft has expired", field="draft", value=draft.draft_id, mend="wait for the next one")
    if draft.complete:
        raise ConflictError("The draft has all its signatures", field="draft", value=draft.draft_id)


def _one_signature(
    connection: Connection, draft: Draft, person: Person, envelope: Envelope, now: datetime
) -> tuple[KeyId, bytes]:
    if (envelope.payload_type, envelope.payload) != (draft.envelope.payload_type, draft.payload):
        raise VerificationError(
            "The signed statement is not this draft's",
            field="payload",
            mend="fetch the draft again, look at its figures, and sign exactly those bytes",
        )
    if len(envelope.signatures) != 1:
        raise InputError("An approval carries exactly one signature", field="signatures")
    key_id = envelope.signatures[0].keyid
    holder = key_holder(connection, key_id, at=now) if key_id.isprintable() else None
    if holder is None or holder.person_id != person.person_id:
        raise ForbiddenError(
            "The key is not one of the person who is signed in",
            field="keyid",
            value=key_id,
            mend="register the key for this person: `mc people add-key`",
        )
    verify(envelope, {key_id: public_key(connection, key_id)})
    return key_id, envelope.signatures[0].sig


def public_key(connection: Connection, key_id: KeyId) -> bytes:
    """Return the public key of a key id that a person has or had; withdrawn keys still verify what they signed."""
    return str(
        connection.execute(select(person_key.c.public_key_pem).where(person_key.c.key_id == key_id)).scalar_one()
    ).encode()


def _signed_today(connection: Connection, person: Person, draft: Draft, now: datetime) -> int:
    table, signature = records.draft, records.signature
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    aliases = [one.person_id for one in list_people(connection) if is_same_person(person, one)]
    query = (
        select(func.coalesce(func.sum(func.abs(table.c.amount_minor)), 0))
        .join(signature, signature.c.draft_id == table.c.draft_id)
        .where(
            signature.c.person_id.in_(aliases),
            signature.c.position == 1,
            signature.c.signed_at >= midnight,
            table.c.currency == draft.amount.currency,
        )
    )
    return int(connection.execute(query).scalar_one())


def is_reason(text: str) -> bool:
    """Tell whether a text says why: it is not blank, not longer than a paragraph, and the database can hold it."""
    return bool(text.strip()) and len(text) <= LONGEST_REASON and "\0" not in text


def reject(database: Database, clock: Clock, draft_id: str, person: Person, reason: str) -> Draft:
    """End a draft with a reason; a maker or a checker may.

    Raises:
        InputError: there is no reason, or it is no sentence.
        ForbiddenError: the person is neither maker nor checker.
        ConflictError: the draft is not open any more.
    """
    now = clock.now()
    if not is_reason(reason):
        raise InputError(
            f"A rejection needs a reason of at most {LONGEST_REASON} characters",
            field="reason",
            mend="say why in a sentence",
        )
    try:
        with database.begin() as connection:
            draft = get_draft(connection, draft_id)
            lock(connection, repr(draft.subject))
            draft = get_draft(connection, draft.draft_id)
            require_writable(connection, draft.subject.tenant)
            if not person.roles & {MAKER, CHECKER}:
                raise ForbiddenError("Rejecting takes the role of a maker or a checker", field="role")
            if draft.state != OPEN:
                raise ConflictError(f"The draft is {draft.state}", field="draft", value=draft.draft_id)
            end_draft(connection, draft, REJECTED, now=now, person=person.person_id, reason=reason.strip())
            return get_draft(connection, draft.draft_id)
    except MaestroError as error:
        audit_refusal(database, "credits.rejection-refused", draft_id, person, error, now)
        raise


def draft_again(
    database: Database, clock: Clock, draft_id: str, person: Person, *, limits: Limits = DEFAULT_LIMITS
) -> Draft:
    """Draft what was rejected or reversed once more, on the same facts, because a person asks.

    Raises:
        NotFoundError: no such draft.
        ForbiddenError: the person is neither maker nor checker.
        ConflictError: nothing is owed, or the period is on hold.
    """
    now = clock.now()
    try:
        with database.begin() as connection:
            draft = get_draft(connection, draft_id)
            require_writable(connection, draft.subject.tenant)
            if not person.roles & {MAKER, CHECKER}:
                raise ForbiddenError("Asking for a draft takes the role of a maker or a checker", field="role")
            subject = draft.subject
            sealed = get_contract(connection, subject.contract)
            assigned = Assigned(subject.tenant, sealed, subject.first, subject.last)
            period = Period(subject.first, subject.last, sealed.contract.zone)
            outcome = draft_period(connection, assigned, period, now=now, limits=limits, again=True)
            if outcome.draft is None:
                raise ConflictError(f"There is nothing to draft: {outcome.reason}", field="draft", value=draft_id)
            content = canonical_json({"draft": outcome.draft.draft_id, "person": str(person.person_id)})
            append(connection, act="credits.draft-asked", subject=outcome.draft.draft_id, content=content, at=now)
            return outcome.draft
    except MaestroError as error:
        audit_refusal(database, "credits.draft-refused", draft_id, person, error, now)
        raise


def audit_refusal(
    database: Database, act: str, draft_id: str, person: Person, error: MaestroError, now: datetime
) -> None:
    """Put a refusal into the audit log, in a transaction of its own: what was refused was rolled back."""
    content = canonical_json(
        {
            "draft": draft_id,
            "person": str(person.person_id),
            "refusal": error.slug,
            "detail": error.detail,
            "at": rfc3339(now),
        }
    )
    subject = draft_id if 0 < len(draft_id) <= 64 and draft_id.isprintable() else "unreadable draft id"  # noqa: PLR2004
    with database.begin() as connection:
        append(connection, act=act, subject=subject, content=content, at=now)
