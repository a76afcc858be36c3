"""One reader per document format; each turns bytes into claims.

:func:`read_document` is the one entry: it tells the format by the content and returns what the document claims, all
of it or nothing. A reader checks no signature and believes no name; see :mod:`mc_pipelines.provenance.verification`.
"""

from __future__ import annotations

from mc_pipelines.provenance.model import Claims, validate
from mc_pipelines.provenance.readers.collector import Reading
from mc_pipelines.provenance.readers.dispatch import read

__all__ = ["read_document", "read_parts"]


def read_document(content: bytes, name: str) -> Claims:
    """Return what a document claims.

    Args:
        content: its bytes exactly as received.
        name: what its sender calls it; never a hint at its format, and no part of what it claims.

    Raises:
        InputError: the document is refused; the sentence says why. Nothing of it is claimed then.
    """
    return read_parts(content, name).claims


def read_parts(content: bytes, name: str) -> Reading:
    """Return what a document claims and the signed parts that verification has to judge.

    Raises:
        InputError: the document is refused.
    """
    reading = read(content, name)
    validate(reading.claims)
    return reading
