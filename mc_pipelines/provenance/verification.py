"""From claims to verdicts: what our own check of a document's signatures proved, and what it did not.

``verifies`` is earned here and nowhere else: after the signature held over the very bytes that were read, by a key or
certificate of the pinned trust roots, held by somebody expected for what the payload says, about subjects that the
payload names by digest. The edge starts at a verification record, a receipt of ours named by what it says, so the
same check mints the same edge.

A document with several signed parts is verified only if each of them is; its verdict is the worst of theirs.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from threading import Lock

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mc_pipelines.attest.bundle import parse_bundle, verify_managed
from mc_pipelines.attest.dsse import pae
from mc_pipelines.attest.key_history import SERVICE, KeyRecord, KeyStatus
from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId
from mc_pipelines.provenance.identity import receipt_id
from mc_pipelines.provenance.keyless_check import check_keyless
from mc_pipelines.provenance.model import (
    Claims,
    Edge,
    EdgeType,
    Kind,
    Node,
    Verification,
    VerificationStatus,
    validate_earned,
)
from mc_pipelines.provenance.readers import read_parts
from mc_pipelines.provenance.readers.collector import PartSignature, Reading, SignedPart
from mc_pipelines.provenance.readers.predicates import OWN_PREFIX
from mc_pipelines.provenance.trust_roots import Scheme, TrustedKey, TrustRoots

_SEVERITY = (
    VerificationStatus.VERIFIED,
    VerificationStatus.UNSIGNED,
    VerificationStatus.UNCHECKED,
    VerificationStatus.IDENTITY_UNPROVEN,
    VerificationStatus.NO_TRUST_ROOT,
    VerificationStatus.STALE,
    VerificationStatus.FAILED,
)
_RECORD_TYPE = "https://maestro-conductor.example/attestations/provenance-verification/v1"
_CURVE_HASHES: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
_SHA256 = hashes.SHA256()
_PASSED = "PASSED"
_ENDED = frozenset({KeyStatus.RETIRED, KeyStatus.COMPROMISED})


Known = tuple[Verification, Node | None]
"""A verdict, and the verification record of a good one."""


@dataclass
class VerdictCache:
    """Verdicts by what was judged and what was believed; the least recently used leave first. Safe for threads.

    Only what a signed part and the trust roots decide is kept, so a verdict never outlives a change of trust.
    """

    capacity: int = 100_000
    _verdicts: OrderedDict[tuple[str, str, str], Known] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, key: tuple[str, str, str]) -> Known | None:
        """Return a verdict with its record, if it is known."""
        with self._lock:
            found = self._verdicts.get(key)
            if found is not None:
                self._verdicts.move_to_end(key)
            return found

    def put(self, key: tuple[str, str, str], known: Known) -> None:
        """Keep a verdict with its record."""
        with self._lock:
            self._verdicts[key] = known
            while len(self._verdicts) > self.capacity:
                self._verdicts.popitem(last=False)


def verify_document(
    content: bytes,
    name: str,
    roots: TrustRoots,
    *,
    artifact: bytes | None = None,
    cache: VerdictCache | None = None,
    seen: datetime | None = None,
) -> Claims:
    """Read a document and judge its signatures.

    Args:
        content: its bytes as received.
        name: what its sender calls it.
        roots: what to believe.
        artifact: the file that it is about, where it is at hand; a signed statement must then name its digest.
        cache: verdicts of earlier checks.
        seen: when it is known to have existed, by a clock of ours; never by its own word.

    Returns:
        Its claims with our verdict, and with ``verifies`` edges if everything in it was verified.

    Raises:
        InputError: the document is refused.
    """
    return judge(read_parts(content, name), roots, artifact=artifact, cache=cache, seen=seen)


def judge(
    reading: Reading,
    roots: TrustRoots,
    *,
    artifact: bytes | None = None,
    cache: VerdictCache | None = None,
    seen: datetime | None = None,
) -> Claims:
    """Judge a document that was read already; see :func:`verify_document`."""
    claims = reading.claims
    if not reading.parts:
        return claims
    judged = [_cached(part, roots, artifact, cache, seen) for part in reading.parts]
    verdict = judged[0][0] if len(judged) == 1 else _worst([one for one, _ in judged])
    if verdict.status is not VerificationStatus.VERIFIED:
        return msgspec.structs.replace(claims, verification=verdict)
    records = {record.id: record for _, record in judged if record is not None}
    kinds: dict[str, Kind] = dict.fromkeys(records, Kind.RECEIPT)
    kinds |= {node.id: node.kind for node in claims.nodes}
    minted = [
        Edge(record.id, part.receipt, EdgeType.VERIFIES)
        for (_, record), part in zip(judged, reading.parts, strict=True)
        if record is not None
    ]
    earned = (*minted, *_summary_edges(reading.parts, kinds))
    return validate_earned(
        msgspec.structs.replace(
            claims, verification=verdict, nodes=(*claims.nodes, *records.values()), earned=tuple(dict.fromkeys(earned))
        ),
        kinds,
    )


def judge_part(
    part: SignedPart, roots: TrustRoots, artifact: bytes | None = None, seen: datetime | None = None
) -> Verification:
    """Judge one signed part; see :func:`verify_document`."""
    flaw = _flaw(part, artifact)
    if flaw is not None:
        return flaw
    if part.key_hint is not None:
        return _check_managed_bundle(part, roots, artifact)
    if any(one.certificate is not None for one in part.signatures):
        return check_keyless(part, roots, artifact)
    if part.container in {"sigstore-bundle", "pep740"}:
        return Verification(
            status=VerificationStatus.FAILED, reason="The bundle carries neither a certificate nor a key."
        )
    return _check_keys(part, roots, seen)


def _flaw(part: SignedPart, artifact: bytes | None) -> Verification | None:
    """Return the verdict on what needs no key to be judged."""
    if not part.signatures:
        status = VerificationStatus.UNSIGNED if part.container == "unsigned" else VerificationStatus.FAILED
        return Verification(status=status, reason="It carries no signature.")
    if part.altered:
        return Verification(status=VerificationStatus.FAILED, reason=part.altered)
    if all(one.signature is None for one in part.signatures):
        return Verification(status=VerificationStatus.FAILED, reason="No signature in it can be decoded.")
    if artifact is not None and not _names(part, artifact):
        return Verification(
            status=VerificationStatus.FAILED, reason="What is signed names other content than the file given."
        )
    return None


def keys_that_hold(part: SignedPart, roots: TrustRoots) -> tuple[tuple[tuple[TrustedKey, Scheme], ...], ...]:
    """Return, for each signature of a part, the trusted keys of others by which it holds, and how."""
    signed = _Signed(part)
    return tuple(_holding(signed, signature, roots.keys) for signature in part.signatures)


def _holding(
    signed: _Signed, signature: PartSignature, keys: Iterable[TrustedKey]
) -> tuple[tuple[TrustedKey, Scheme], ...]:
    return tuple(
        (key, scheme) for key in keys for scheme in sorted(key.schemes) if signed.holds(key, scheme, signature)
    )


def _cached(
    part: SignedPart, roots: TrustRoots, artifact: bytes | None, cache: VerdictCache | None, seen: datetime | None
) -> Known:
    flaw = _flaw(part, artifact)  # may lie in what stands beside the container that names the receipt
    if flaw is not None:
        return flaw, None
    if cache is None:
        return _with_record(part, judge_part(part, roots, artifact, seen), roots)
    about = "" if artifact is None else hashlib.sha256(artifact).hexdigest()
    key = (part.receipt, roots.digest, f"{about} {seen}" if roots.any_ended else about)
    known = cache.get(key)
    if known is None:
        known = _with_record(part, judge_part(part, roots, artifact, seen), roots)
        cache.put(key, known)
    return known


def _with_record(part: SignedPart, verdict: Verification, roots: TrustRoots) -> Known:
    return verdict, _record(part, verdict, roots) if verdict.status is VerificationStatus.VERIFIED else None


def _worst(verdicts: list[Verification]) -> Verification:
    worst = max(verdicts, key=lambda one: _SEVERITY.index(one.status))
    if len(verdicts) == 1:
        return worst
    same = sum(one.status is worst.status for one in verdicts)
    return msgspec.structs.replace(worst, reason=f"{same} of {len(verdicts)} receipts: {worst.reason}")


def _check_keys(part: SignedPart, roots: TrustRoots, seen: datetime | None) -> Verification:
    """Judge by the best of the signatures: one that counts for nothing takes nothing from another."""
    own = _check_own(part, roots, seen)
    if own is not None and own.status is VerificationStatus.VERIFIED:
        return own
    others = _check_others(part, roots)
    return others if own is None or others.status is VerificationStatus.VERIFIED else own


def _check_others(part: SignedPart, roots: TrustRoots) -> Verification:
    signed = _Signed(part)
    held = _by_hint(signed, roots) or [
        pair for signature in part.signatures for pair in _holding(signed, signature, roots.keys)
    ]
    if not held:
        return _unknown(part, roots)
    speaking = [(key, scheme) for key, scheme in held if key.speaks_for(part.builder)]
    key, scheme = (speaking or held)[0]
    if not speaking:
        return Verification(
            status=VerificationStatus.IDENTITY_UNPROVEN,
            reason=f"{key.holder} signed it, but may not speak for builder {part.builder or 'none'}.",
            signer=key.holder,
            key_id=key.key_id,
            scheme=scheme,
        )
    live = [(one, how) for one, how in speaking if not one.revoked]
    if not live:
        return Verification(
            status=VerificationStatus.STALE,
            reason=f"The key of {key.holder} is revoked.",
            signer=key.holder,
            key_id=key.key_id,
            scheme=scheme,
        )
    key, scheme = live[0]
    others = len(part.signatures) - 1
    more = f" {others} further signature(s) count for nothing." if others else ""
    return Verification(
        status=VerificationStatus.VERIFIED,
        reason=f"Signed by {key.holder}.{more}",
        signer=key.holder,
        key_id=key.key_id,
        scheme=scheme,
    )


def _by_hint(signed: _Signed, roots: TrustRoots) -> list[tuple[TrustedKey, Scheme]]:
    """Return the key that an envelope hints at, if it holds and may speak: then no other need be tried.

    The hint is unauthenticated, and decides nothing but the order of trying.
    """
    if len(roots.keys) > 1:
        for signature in signed.part.signatures:
            hinted = [key for key in roots.keys if signature.keyid in key.hints and not key.revoked]
            for pair in _holding(signed, signature, hinted):
                if pair[0].speaks_for(signed.part.builder):
                    return [pair]
    return []


def _unknown(part: SignedPart, roots: TrustRoots) -> Verification:
    named = [one.keyid for one in part.signatures if one.keyid in roots.names]
    if named:
        return Verification(
            status=VerificationStatus.FAILED, reason=f"A signature names trusted key {named[0]} and does not hold."
        )
    return Verification(status=VerificationStatus.NO_TRUST_ROOT, reason="No key that is trusted here has signed it.")


def _check_own(part: SignedPart, roots: TrustRoots, seen: datetime | None) -> Verification | None:
    """Judge by our own trust file; None where none of its keys signed.

    What a key signed while it was good stays good: rotation never un-verifies. That it signed while it was good is
    proved by a record of ours from before its end, never by a time that the document states. A person's key vouches
    for statements of ours that people sign (notes, approvals), never for an execution.
    """
    signed = _Signed(part)
    first = None
    for signature in part.signatures:
        for record, key in roots.own_keys(signature.keyid):
            if signed.holds(key, Scheme.DSSE_PAE, signature):
                verdict = _by_own(record, part, seen)
                if verdict.status is VerificationStatus.VERIFIED:
                    return verdict
                first = first or verdict
    return first


def _by_own(record: KeyRecord, part: SignedPart, seen: datetime | None) -> Verification:
    """Return what a signature that holds by a key of ours proves."""
    status, reason = VerificationStatus.VERIFIED, f"Signed by {record.holder} of our own trust file."
    if record.holder != SERVICE and not part.predicate_type.startswith(OWN_PREFIX):
        status = VerificationStatus.IDENTITY_UNPROVEN
        reason = f"{record.holder} signed it, but only the service may vouch for an execution."
    elif record.status in _ENDED and seen is not None and record.valid_until and seen < record.valid_until:
        reason = f"Signed by {record.holder}, whose key is {record.status.value}; we recorded it before that."
    elif record.status is not KeyStatus.ACTIVE:
        status = VerificationStatus.STALE
        reason = f"The key is {record.status.value}, and nothing here proves that it signed before."
    return Verification(
        status=status, reason=reason, signer=record.holder, key_id=record.key_id, scheme=Scheme.DSSE_PAE
    )


def _check_managed_bundle(part: SignedPart, roots: TrustRoots, artifact: bytes | None) -> Verification:
    keys: dict[KeyId, TrustedKey] = {}
    for key in roots.keys:
        if isinstance(key.public_key, ec.EllipticCurvePublicKey) and isinstance(key.public_key.curve, ec.SECP256R1):
            keys[thumbprint(key.public_key_pem)] = key
    if not keys:
        return Verification(
            status=VerificationStatus.NO_TRUST_ROOT,
            reason=f"Signed with a managed key ({part.key_hint or 'no hint'}); no key is trusted here.",
        )
    if not part.payload and artifact is None:
        return Verification(
            status=VerificationStatus.UNCHECKED,
            reason="A bare signature is judged with the file that it signs, which is not here.",
        )
    try:
        pems = {key_id: key.public_key_pem for key_id, key in keys.items()}
        key = keys[verify_managed(parse_bundle(part.content), pems, artifact=artifact)]
    except (VerificationError, InputError) as error:
        hinted = any(part.key_hint in key.hints for key in roots.keys)
        status = VerificationStatus.FAILED if hinted else VerificationStatus.NO_TRUST_ROOT
        return Verification(status=status, reason=error.detail)
    good = key.speaks_for(part.builder) and not key.revoked
    bad = VerificationStatus.STALE if key.revoked else VerificationStatus.IDENTITY_UNPROVEN
    return Verification(
        status=VerificationStatus.VERIFIED if good else bad,
        reason=f"Signed by {key.holder}." if good else f"The key of {key.holder} may not vouch for this.",
        signer=key.holder,
        key_id=key.key_id,
        scheme="sigstore-bundle-key",
    )


@dataclass(frozen=True)
class _Signed:
    """The bytes that a part's signatures are over, hashed once however many keys are tried."""

    part: SignedPart

    @cached_property
    def _pae(self) -> bytes:
        return pae(self.part.payload_type, self.part.payload)

    @cached_property
    def _hashes(self) -> dict[tuple[bool, int], bytes]:
        return {}

    def _digest(self, *, raw: bool, bits: int) -> tuple[bytes, hashes.HashAlgorithm]:
        algorithm = _CURVE_HASHES.get(bits, _SHA256)
        found = self._hashes.get((raw, bits))
        if found is None:
            content = self.part.payload if raw else self._pae
            found = self._hashes[raw, bits] = hashlib.new(algorithm.name, content).digest()
        return found, algorithm

    def holds(self, key: TrustedKey, scheme: Scheme, signature: PartSignature) -> bool:
        """Tell whether a signature was made with a key in a scheme."""
        value = signature.signature
        if value is None:
            return False
        raw = scheme is Scheme.LEGACY_RAW
        public = key.public_key
        try:
            if not isinstance(public, ec.EllipticCurvePublicKey):
                public.verify(value, self.part.payload if raw else self._pae)
                return scheme is not Scheme.DSSE_PAE_RAW
            bits = public.curve.key_size
            if scheme is Scheme.DSSE_PAE_RAW:
                half = (bits + 7) // 8
                if len(value) != 2 * half:
                    return False
                value = utils.encode_dss_signature(int.from_bytes(value[:half]), int.from_bytes(value[half:]))
            digest, algorithm = self._digest(raw=raw, bits=bits)
            public.verify(value, digest, ec.ECDSA(utils.Prehashed(algorithm)))
        except InvalidSignature:
            return False
        return True


def _names(part: SignedPart, artifact: bytes) -> bool:
    """Tell whether a subject of the part is ``artifact``, by digest."""
    for subject in part.subjects:
        for algorithm in ("sha256", "sha512", "sha384"):
            if subject.get(algorithm, "").lower() == hashlib.new(algorithm, artifact).hexdigest():
                return True
    return False


def _record(part: SignedPart, verdict: Verification, roots: TrustRoots) -> Node:
    """Return the verification record: a receipt of ours, named by what it says, so that it is the same each time."""
    says = {
        "predicateType": _RECORD_TYPE,
        "receipt": part.receipt,
        "signer": verdict.signer,
        "keyId": verdict.key_id,
        "scheme": verdict.scheme,
        "builder": part.builder,
        "trustRoots": roots.digest,
    }
    return Node(receipt_id(canonical_json(says)), Kind.RECEIPT, "verification", attributes=says)


def _summary_edges(parts: Iterable[SignedPart], kinds: Mapping[str, Kind]) -> Iterable[Edge]:
    """Yield what verified summaries verify: bundles they found to pass; the verifier's identity was checked before."""
    for part in parts:
        summary = part.summary
        if summary is None or summary.result != _PASSED or not summary.resource or not summary.verifier:
            continue
        for target in summary.targets:
            if kinds.get(target) is Kind.BUNDLE:
                yield Edge(part.receipt, target, EdgeType.VERIFIES)
