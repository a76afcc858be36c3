"""Which of several descriptions of one node stands: the one with the highest rank, in whatever order they come.

Documents describe the same node differently: one mentions a digest, one calls it a package, one a bundle with facts.
The choice must not depend on who came first, or two logs of the same documents would answer differently. So a rank is
a number that follows from the description alone: a description outranks a mention; a more special kind a more general
one (what a release calls a bundle is one, although a bill of materials lists it as a package); more facts outrank
fewer; between equals a hash decides, arbitrarily but always alike. Labels and facts are hints, whichever stands.
"""

from __future__ import annotations

import hashlib

import numpy as np
import orjson

from mc_pipelines.provenance.model import KINDS, Kind, Node

_SPECIAL = {
    kind: place for place, kind in enumerate((Kind.PACKAGE, Kind.MANIFEST, Kind.EXECUTION, Kind.RECEIPT, Kind.BUNDLE))
}
_MOST_FACTS = 2**15 - 1
STUB = 8
"""Added to the code of a kind where a document names a node and does not describe it."""
ORDERS = 13
"""How many orders there are: stubs 0 to 4, descriptions 8 to 12."""
ORDER_OF = np.zeros(16, dtype=np.uint8)
"""Of a kind plus 8 for a stub, bits 59 to 62 of a rank: what decides before any facts do."""
KIND_OF = np.zeros(16, dtype=np.uint8)
"""Of an order, the kind plus 8 for a stub."""
for _code, _kind in enumerate(KINDS):
    for _stub in (0, STUB):
        ORDER_OF[_code | _stub] = (STUB - _stub) | _SPECIAL[_kind]
        KIND_OF[ORDER_OF[_code | _stub]] = _code | _stub


def rank_of(node: Node) -> int:
    """Return the rank of a description: 63 bits.

    Bit 62: a description, no mention. Bits 59 to 61: how special its kind is. Bits 44 to 58: bytes of facts as JSON,
    capped. Bits 0 to 43: of the BLAKE2b hash of label and facts; 0 where there are none.
    """
    facts = b"" if node.attributes is None else orjson.dumps(node.attributes, option=orjson.OPT_SORT_KEYS)
    rank = (not node.stub) << 62 | _SPECIAL[node.kind] << 59 | min(len(facts), _MOST_FACTS) << 44
    if node.label is None and not facts:
        return rank
    says = (node.label or "").encode(errors="replace") + b"\0" + facts
    return rank | int.from_bytes(hashlib.blake2b(says, digest_size=6).digest()) >> 4
