"""Who may read what a sender brings: never more openly than the tenant's data class asks for.

The data of the pack `graph` says which classification a data class has and which purposes any role reads for. A
document keeps the marking under which it was recorded first; what we derive from it (a verdict judged anew, the
completion of a run) inherits it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mc_pipelines.foundation.errors import InputError, UnavailableError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.labels import classification_of, purposes_of
from mc_pipelines.provenance.model import MAXIMUM_CLASSIFICATION, PUBLIC, Claims, Purpose


@dataclass(frozen=True, slots=True)
class Marking:
    """Who may read the claims of a document.

    Attributes:
        classification: 0 (open) to 3 (secret).
        purposes: what they may be read for; empty = any purpose.
    """

    classification: int = 0
    purposes: frozenset[Purpose] = frozenset()

    @classmethod
    def of_label(cls, label: int) -> Marking:
        """Return the marking in a label (see :mod:`mc_pipelines.provenance.labels`)."""
        return cls(classification_of(label), frozenset(Purpose(each) for each in purposes_of(label)))

    def require_on(self, tenant: TenantId) -> None:
        """Make sure that a tenant's documents may be marked so.

        Raises:
            InputError: the shared partition, which every tenant reads, holds nothing that is not open.
        """
        if tenant == PUBLIC and self.classification:
            raise InputError(
                "What is shared with every tenant is open",
                field="classification",
                value=self.classification,
                mend="leave it out, or say 0; what is not open belongs to a tenant of its own",
            )

    def put_on(self, claims: Claims) -> Claims:
        """Return ``claims`` as readable to those whom the marking admits."""
        return msgspec.structs.replace(claims, classification=self.classification, purposes=self.purposes)


OPEN = Marking()
"""For every reader and any purpose."""


def choose_marking(
    pack: Mapping[str, Any], data_class: str | None, classification: int | None, purposes: Iterable[str]
) -> Marking:
    """Return the marking of what a sender brings.

    Args:
        pack: the data of the pack `graph`.
        data_class: the tenant's; None = it has no record.
        classification: what the sender says; None = that of the data class.
        purposes: what the sender says.

    Raises:
        InputError: a classification that is none or lies below that of the data class, or a purpose that no role
            reads for.
        UnavailableError: the pack does not say which classification the data class has.
    """
    least = _least(pack, data_class)
    chosen = least if classification is None else classification
    if not 0 <= chosen <= MAXIMUM_CLASSIFICATION:
        raise InputError("A classification is 0 to 3", field="classification", value=chosen)
    if chosen < least:
        raise InputError(
            f"Claims of a tenant whose data are {data_class} have at least classification {least}",
            field="classification",
            value=chosen,
            mend="leave it out, or say a higher one",
        )
    known = {each for role in pack["purposes_of_role"].values() for each in role} & set(Purpose)
    wanted = set(purposes)
    for each in sorted(wanted - known):
        raise InputError(
            "No role reads for this purpose", field="purpose", value=each, mend=f"use {', '.join(sorted(known))}"
        )
    return Marking(chosen, frozenset(Purpose(each) for each in wanted))


def _least(pack: Mapping[str, Any], data_class: str | None) -> int:
    if data_class is None:
        return 0
    least = pack.get("classification_of_data_class", {}).get(data_class)
    if not isinstance(least, int) or not 0 <= least <= MAXIMUM_CLASSIFICATION:
        raise UnavailableError(
            "The pack graph does not say which classification the data class has",
            field="classification_of_data_class",
            value=data_class,
            mend="see policy/graph/README.md",
        )
    return least
