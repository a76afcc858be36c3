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
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mc_pipelines.attest.bundle import parse_bundle, verify_managed
from mc_pipelines.attest.dsse import pae
from mc_pipelines.attest.key_history import SERVICE, KeyRecord, KeyStatus
from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.attest.trust import Trust
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId
from mc_pipelines.provenance.identity import NodeId, receipt_id
from mc_pipelines.provenance.keyless_check import check_keyless
from mc_pipelines.provenance.model import Claims, Edge, EdgeType, Kind, Node, Verification, VerificationStatus, validate
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
_PASSED = "PASSED"
_ENDED = frozenset({KeyStatus.RETIRED, KeyStatus.COMPROMISED})


@dataclass
class VerdictCache:
    """Verdicts by what was judged and what was believed; the least recently used leave first.

    Only what a signed part and the trust roots decide is kept, so a verdict never outlives a change of trust.
    """

    capacity: int = 100_000
    _verdicts: OrderedDict[tuple[str, str, str], Verification] = field(default_factory=OrderedDict)

    def get(self, key: tuple[str, str, str]) -> Verification | None:
        """Return a verdict, if it is known."""
        found = self._verdicts.get(key)
        if found is not None:
            self._verdicts.move_to_end(key)
        return found

    def put(self, key: tuple[str, str, str], verdict: Verification) -> None:
        """Keep a verdict."""
        self._verdicts[key] = verdict
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
    verdicts = [_cached(part, roots, artifact, cache, seen) for part in reading.parts]
    verdict = _worst(verdicts)
    if verdict.status is not VerificationStatus.VERIFIED:
        return msgspec.structs.replace(claims, verification=verdict)
    records = [_record(part, one, roots) for part, one in zip(reading.parts, verdicts, strict=True)]
    kinds = {node.id: node.kind for node in claims.nodes}
    earned = [
        *(
            Edge(record.id, part.receipt, EdgeType.VERIFIES)
            for record, part in zip(records, reading.parts, strict=True)
        ),
        *_summary_edges(reading.parts, kinds),
    ]
    return validate(
        msgspec.structs.replace(
            claims,
            verification=verdict,
            nodes=(*claims.nodes, *{node.id: node for node in records}.values()),
            earned=tuple(_distinct(earned)),
        )
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
    return tuple(
        tuple(
            (key, scheme)
            for key in roots.keys
            for scheme in sorted(key.schemes)
            if _holds(key, scheme, signature, part)
        )
        for signature in part.signatures
    )


def _cached(
    part: SignedPart, roots: TrustRoots, artifact: bytes | None, cache: VerdictCache | None, seen: datetime | None
) -> Verification:
    flaw = _flaw(part, artifact)  # may lie in what stands beside the container that names the receipt
    if flaw is not None or cache is None:
        return flaw or judge_part(part, roots, artifact, seen)
    about = "" if artifact is None else hashlib.sha256(artifact).hexdigest()
    ended = roots.own is not None and any(key.status is not KeyStatus.ACTIVE for key in roots.own.keys)
    key = (part.receipt, roots.digest, f"{about} {seen if ended else ''}")
    verdict = cache.get(key)
    if verdict is None:
        verdict = judge_part(part, roots, artifact, seen)
        cache.put(key, verdict)
    return verdict


def _worst(verdicts: list[Verification]) -> Verification:
    worst = max(verdicts, key=lambda one: _SEVERITY.index(one.status))
    if len(verdicts) == 1:
        return worst
    same = sum(one.status is worst.status for one in verdicts)
    return msgspec.structs.replace(worst, reason=f"{same} of {len(verdicts)} receipts: {worst.reason}")


def _check_keys(part: SignedPart, roots: TrustRoots, seen: datetime | None) -> Verification:
    """Judge by the best of the signatures: one that counts for nothing takes nothing from another."""
    own = _check_own(part, roots.own, seen)
    if own is not None and own.status is VerificationStatus.VERIFIED:
        return own
    others = _check_others(part, roots)
    return others if own is None or others.status is VerificationStatus.VERIFIED else own


def _check_others(part: SignedPart, roots: TrustRoots) -> Verification:
    held = [pair for pairs in keys_that_hold(part, roots) for pair in pairs]
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


def _unknown(part: SignedPart, roots: TrustRoots) -> Verification:
    hints = {hint for key in roots.keys for hint in key.hints}
    own = {key.key_id for key in roots.own.keys} if roots.own is not None else set()
    named = [one.keyid for one in part.signatures if one.keyid in hints or one.keyid in own]
    if named:
        return Verification(
            status=VerificationStatus.FAILED, reason=f"A signature names trusted key {named[0]} and does not hold."
        )
    return Verification(status=VerificationStatus.NO_TRUST_ROOT, reason="No key that is trusted here has signed it.")


def _check_own(part: SignedPart, own: Trust | None, seen: datetime | None) -> Verification | None:
    """Judge by our own trust file; None where none of its keys signed.

    What a key signed while it was good stays good: rotation never un-verifies. That it signed while it was good is
    proved by a record of ours from before its end, never by a time that the document states. A person's key vouches
    for statements of ours that people sign (notes, approvals), never for an execution.
    """
    if own is None:
        return None
    found = [
        _by_own(record, part, seen)
        for signature in part.signatures
        for record in own.keys
        if _holds(TrustedKey(record.holder, record.public_key_pem), Scheme.DSSE_PAE, signature, part)
    ]
    return next((one for one in found if one.status is VerificationStatus.VERIFIED), found[0] if found else None)


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


def _holds(key: TrustedKey, scheme: Scheme, signature: PartSignature, part: SignedPart) -> bool:
    if signature.signature is None:
        return False
    content = part.payload if scheme is Scheme.LEGACY_RAW else pae(part.payload_type, part.payload)
    public, value = key.public_key, signature.signature
    try:
        if not isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(value, content)
            return scheme is not Scheme.DSSE_PAE_RAW
        if scheme is Scheme.DSSE_PAE_RAW:
            half = (public.curve.key_size + 7) // 8
            if len(value) != 2 * half:
                return False
            value = utils.encode_dss_signature(int.from_bytes(value[:half]), int.from_bytes(value[half:]))
        public.verify(value, content, ec.ECDSA(_CURVE_HASHES.get(public.curve.key_size, hashes.SHA256())))
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


def _summary_edges(parts: Iterable[SignedPart], kinds: dict[NodeId, Kind]) -> Iterable[Edge]:
    """Yield what verified summaries verify: bundles they found to pass; the verifier's identity was checked before."""
    for part in parts:
        summary = part.summary
        if summary is None or summary.result != _PASSED or not summary.resource or not summary.verifier:
            continue
        for target in summary.targets:
            if kinds.get(target) is Kind.BUNDLE:
                yield Edge(part.receipt, target, EdgeType.VERIFIES)


def _distinct(edges: Iterable[Edge]) -> Iterable[Edge]:
    return {(one.source, one.target): one for one in edges}.values()
