"""The trust file: what an offline verifier believes before it reads anything: keys, holders, windows, logs.

Version N+1 is a DSSE envelope that a threshold of version N's root keys signed, and a threshold of its own root keys
(the rule of TUF), so whoever holds one version by hand can follow every later one. The payload stays readable JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mc_pipelines.attest.dsse import Envelope, sign, verify
from mc_pipelines.attest.key_history import KeyRecord, KeyStatus
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.signer import Signer
from mc_pipelines.foundation.canonical import canonical_json, parse_json
from mc_pipelines.foundation.clock import parse_utc, rfc3339
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId

TRUST_TYPE = "https://maestro-conductor.example/trust/v1"
TRUST_PAYLOAD_TYPE = "application/vnd.maestro-conductor.trust+json"


@dataclass(frozen=True)
class Trust:
    """What a verifier believes.

    Attributes:
        keys: public keys with holders and windows.
        logs: verifier keys of audit logs.
        version: grows by one with every change.
        root_keys: the keys that may change this list.
        threshold: how many of them must agree.
        witnesses: verifier keys of witnesses of the logs.
        witness_threshold: how many of them must have cosigned a log's checkpoint; 0: a proof holds without any.
        timestamp_authorities: root certificates (PEM) of time-stamping authorities.
    """

    keys: tuple[KeyRecord, ...]
    logs: tuple[NoteKey, ...] = ()
    version: int = 1
    root_keys: tuple[KeyId, ...] = ()
    threshold: int = 1
    witnesses: tuple[NoteKey, ...] = ()
    witness_threshold: int = 0
    timestamp_authorities: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        known = {key.key_id for key in self.keys}
        if len(known) != len(self.keys):
            raise InputError("A key is listed twice", field="keys")
        if self.version < 1:
            raise InputError("Versions count from 1", field="version", value=self.version)
        if self.root_keys and not 1 <= self.threshold <= len(set(self.root_keys)):
            raise InputError("The threshold cannot be reached", field="threshold", value=self.threshold)
        if not set(self.root_keys) <= known:
            raise InputError("A root key is not listed", field="rootKeys", value=list(self.root_keys))
        if not 0 <= self.witness_threshold <= len({str(key) for key in self.witnesses}):
            raise InputError("So many witnesses are not listed", field="witnessThreshold", value=self.witness_threshold)

    @property
    def pems(self) -> dict[KeyId, bytes]:
        """All keys, as :func:`mc_pipelines.attest.dsse.verify` takes them."""
        return {key.key_id: key.public_key_pem for key in self.keys}

    def to_document(self) -> dict[str, Any]:
        """Return the JSON members of the trust file."""
        return {
            "_type": TRUST_TYPE,
            "version": self.version,
            "keys": [_key_document(key) for key in self.keys],
            "logs": [str(key) for key in self.logs],
            "rootKeys": list(self.root_keys),
            "threshold": self.threshold,
            "witnesses": [str(key) for key in self.witnesses],
            "witnessThreshold": self.witness_threshold,
            "timestampAuthorities": [pem.decode("ascii") for pem in self.timestamp_authorities],
        }

    def to_json(self) -> bytes:
        """Return the trust file as canonical JSON."""
        return canonical_json(self.to_document())

    @classmethod
    def from_json(cls, content: bytes) -> Trust:
        """Read a trust file that the caller trusts by where it came from: plain JSON, or its signed envelope.

        An envelope must be signed by the root keys that it names itself: that finds damage, not an impostor.
        :func:`follow` verifies one against the version before it.

        Raises:
            InputError: it is no trust file.
            VerificationError: an envelope that its own root keys did not sign.
        """
        document = parse_json(content, what="trust file")
        if not isinstance(document, dict) or "payloadType" not in document:
            return _read(document)
        envelope = Envelope.from_document(document)
        found = read_payload(envelope)
        _vouch("own", found, envelope)
        return found

    def signed(self, signers: Iterable[Signer]) -> Envelope:
        """Return the trust file signed by root keys."""
        return sign(self.to_json(), TRUST_PAYLOAD_TYPE, signers)


def follow(trusted: Trust, envelope: Envelope) -> Trust:
    """Return the next version of a trust file, if the trusted version and the new one both vouch for it.

    Raises:
        InputError: the envelope holds no trust file.
        VerificationError: it is not the next version, or too few root keys of the old or the new version signed.
    """
    following = read_payload(envelope)
    if following.version != trusted.version + 1:
        raise VerificationError(
            f"Version {following.version} does not follow version {trusted.version}",
            field="version",
            value=following.version,
            mend="apply the versions between them one after the other",
        )
    for which, one in (("trusted", trusted), ("new", following)):
        _vouch(which, one, envelope)
    return following


def _vouch(which: str, one: Trust, envelope: Envelope) -> None:
    roots = {key_id: one.pems[key_id] for key_id in one.root_keys}
    if not roots:
        raise VerificationError(f"The {which} version names no root keys", field="rootKeys")
    verify(envelope, roots, threshold=one.threshold)


def read_payload(envelope: Envelope) -> Trust:
    """Read the trust file in an envelope, whose signatures the caller judges.

    Raises:
        InputError: the envelope holds no trust file.
    """
    if envelope.payload_type != TRUST_PAYLOAD_TYPE:
        raise InputError("The envelope holds no trust file", field="payloadType", value=envelope.payload_type)
    return _read(parse_json(envelope.payload, what="trust file"))


def _read(document: Any) -> Trust:
    if not isinstance(document, dict) or document.get("_type") != TRUST_TYPE:
        raise InputError("Not a trust file", field="_type", mend="export one with `mc log trust --out trust.json`")
    try:
        return Trust(
            tuple(_key(one) for one in document["keys"]),
            tuple(NoteKey.parse(one) for one in document["logs"]),
            _integer(document["version"], "version"),
            tuple(KeyId(str(one)) for one in document["rootKeys"]),
            _integer(document["threshold"], "threshold"),
            tuple(NoteKey.parse(one) for one in document.get("witnesses", [])),
            _integer(document.get("witnessThreshold", 0), "witnessThreshold"),
            tuple(one.encode("ascii") for one in document.get("timestampAuthorities", [])),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"The trust file is malformed: {error!r}", field="trust file") from error


def _key_document(key: KeyRecord) -> dict[str, Any]:
    return {
        "keyId": key.key_id,
        "publicKey": key.public_key_pem.decode("ascii"),
        "holder": key.holder,
        "validFrom": rfc3339(key.valid_from),
        "validUntil": None if key.valid_until is None else rfc3339(key.valid_until),
        "status": key.status.value,
    }


def _key(document: Mapping[str, Any]) -> KeyRecord:
    until = document["validUntil"]
    return KeyRecord(
        KeyId(document["keyId"]),
        document["publicKey"].encode("ascii"),
        parse_utc(document["validFrom"], field="validFrom"),
        None if until is None else parse_utc(until, field="validUntil"),
        KeyStatus(document["status"]),
        document["holder"],
    )


def _integer(value: Any, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError("Not a whole number", field=field, value=value)
    return value
