"""The log's side of witnessing: ask witnesses for their cosignatures and put them beside the checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Event

import httpx
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from mc_pipelines.attest.log import consistency_proof
from mc_pipelines.attest.note import COSIGNATURE, NoteKey, NoteSignature, SignedNote, parse_note
from mc_pipelines.attest.records import log_checkpoint, log_cosignature
from mc_pipelines.attest.witness import OTHER_SIZE, write_request
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConfigurationError, InputError, UnavailableError, VerificationError
from mc_pipelines.foundation.logs import get_logger

_TIMEOUT_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 60.0
_OK = 200
_log = get_logger(__name__)


@dataclass(frozen=True)
class WitnessAddress:
    """Where a witness is asked, and what its answers are verified with."""

    url: str
    key: NoteKey


def parse_witnesses(text: str | None) -> tuple[WitnessAddress, ...]:
    """Read the setting MC_WITNESSES: ``URL#VERIFIERKEY``, several separated by spaces.

    Raises:
        ConfigurationError: an entry is none, or its key is not a witness's.
    """
    found = []
    for entry in (text or "").split():
        url, _, key = entry.partition("#")
        try:
            parsed = NoteKey.parse(key)
        except InputError as error:
            raise ConfigurationError(
                f"Not a witness: {error}", field="MC_WITNESSES", value=entry, mend="write URL#VERIFIERKEY"
            ) from error
        if parsed.kind != COSIGNATURE or not url.startswith(("http://", "https://")):
            raise ConfigurationError(
                "Not the address and key of a witness", field="MC_WITNESSES", value=entry, mend="write URL#VERIFIERKEY"
            )
        found.append(WitnessAddress(url.rstrip("/"), parsed))
    return tuple(found)


def cosign_newest(
    database: Database, clock: Clock, witnesses: Iterable[WitnessAddress], *, client: httpx.Client | None = None
) -> dict[str, str]:
    """Ask every witness that has not signed the newest checkpoint; return the name and refusal of those that did not.

    A witness that is down or refuses delays nothing: the next checkpoint is asked for anew. A refusal means that the
    witness has seen another tree, so it is logged as an error.

    Args:
        database: as the application role.
        clock: now.
        witnesses: whom to ask.
        client: HTTP client, for tests.
    """
    refusals: dict[str, str] = {}
    with client or httpx.Client(timeout=_TIMEOUT_SECONDS) as opened:
        for witness in witnesses:
            try:
                _cosign(database, clock, witness, opened)
            except (UnavailableError, VerificationError, InputError) as error:
                refusals[witness.key.name] = str(error)
                _log.error("witness.no-cosignature", witness=witness.key.name, error=str(error))
    return refusals


def cosign_until(
    database: Database, clock: Clock, witnesses: Sequence[WitnessAddress], stop: Event, interval: float
) -> None:
    """Keep witnesses up to date until told to stop, beside the sequencer: a slow witness never holds it up.

    Args:
        database: as the application role.
        clock: now.
        witnesses: whom to ask; none: nothing is done.
        stop: ends the loop.
        interval: seconds between looks at the newest checkpoint; after a refusal, up to a minute.
    """
    pause = interval
    while witnesses and not stop.wait(pause):
        try:
            refused = cosign_newest(database, clock, witnesses)
        except SQLAlchemyError as error:
            _log.warning("witness.no-database", error=str(error))
            refused = {"": str(error)}
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS) if refused else interval


def _cosign(database: Database, clock: Clock, witness: WitnessAddress, client: httpx.Client) -> None:
    with database.begin() as connection:
        head = connection.execute(
            select(log_checkpoint.c.size, log_checkpoint.c.note).order_by(log_checkpoint.c.size.desc()).limit(1)
        ).first()
        seen = _last_seen(connection, witness.key)
    if head is None or seen == head.size:
        return
    response = _ask(database, client, witness, seen, head.size, head.note)
    if response.status_code == OTHER_SIZE and response.text.strip().isdecimal():
        seen = int(response.text)
        if seen > head.size:
            raise VerificationError(
                "The witness has seen a larger tree than the log has", field="size", value=seen, size=head.size
            )
        response = _ask(database, client, witness, seen, head.size, head.note)
    if response.status_code != _OK:
        raise VerificationError(
            f"The witness does not cosign: {response.text.strip()[:200]}", field="witness", value=response.status_code
        )
    line = _verified(response.text, parse_note(head.note), witness.key)
    with database.begin() as connection:
        values = {"size": head.size, "witness": str(witness.key), "line": str(line), "recorded_at": clock.now()}
        connection.execute(insert(log_cosignature).values(values).on_conflict_do_nothing())


def _ask(
    database: Database, client: httpx.Client, witness: WitnessAddress, old: int, size: int, note: str
) -> httpx.Response:
    with database.begin() as connection:
        proof = [] if old in {0, size} else consistency_proof(connection, old, size)
    try:
        return client.post(f"{witness.url}/add-checkpoint", content=write_request(old, proof, note))
    except httpx.HTTPError as error:
        raise UnavailableError(f"The witness does not answer: {error!r}", field="witness", value=witness.url) from error


def _verified(text: str, note: SignedNote, key: NoteKey) -> NoteSignature:
    for line in text.splitlines():
        signature = NoteSignature.parse(line)
        if (signature.name, signature.key_hash) == (key.name, key.key_hash):
            key.verify(note.text, signature.signature)
            return signature
    raise VerificationError("The answer holds no line of the witness's key", field="witness", value=str(key))


def _last_seen(connection: Connection, key: NoteKey) -> int:
    table = log_cosignature
    query = select(table.c.size).where(table.c.witness == str(key)).order_by(table.c.size.desc()).limit(1)
    return int(connection.execute(query).scalar() or 0)
