"""What decides whether a claim may be read, packed into one small number per document.

Bits 0-1 classification, 2-4 verification status, 5-8 purposes (none set: any). A request's filter is a
table over all labels, so that a decision of the policy becomes arithmetic.
"""

from __future__ import annotations

from mc_pipelines.provenance.model import VERIFICATION_CODE, Claims, Purpose

LABELS = 512
"""How many labels there are."""

_PURPOSE_BIT: dict[str, int] = {purpose.value: 1 << position for position, purpose in enumerate(Purpose)}


def pack_label(claims: Claims) -> int:
    """Return the label of a document's claims."""
    purposes = sum(_PURPOSE_BIT[purpose] for purpose in claims.purposes)
    return claims.classification | VERIFICATION_CODE[claims.verification.status] << 2 | purposes << 5


def classification_of(label: int) -> int:
    """Return the classification (0 to 3) in a label."""
    return label & 3


def verification_of(label: int) -> int:
    """Return the code of the verification status in a label."""
    return label >> 2 & 7


def purposes_of(label: int) -> frozenset[str]:
    """Return the purposes in a label; empty = any."""
    return frozenset(name for name, bit in _PURPOSE_BIT.items() if label >> 5 & bit)
