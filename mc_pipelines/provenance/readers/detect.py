"""What a document is, by its content; its name decides nothing."""

from __future__ import annotations

import re

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.readers.parsing import MAXIMUM_DOCUMENT_BYTES, decode, decoder_of

_MEND = (
    "give CycloneDX 1.2-1.7, SPDX 2.2-3.0, an in-toto statement, a DSSE envelope, a sigstore bundle or "
    "OpenLineage events, in JSON, or a Debian package index"
)
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"7z\xbc\xaf": "7z",
}
_XML = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+<")
_OTHER_TEXT = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_TAG_VALUE = b"SPDXVersion:"
_XZ = b"\xfd7zXZ\x00"
_Present = msgspec.Raw | msgspec.UnsetType


class Probe(msgspec.Struct, gc=False):
    """The members by which formats are told apart; their values are not looked into."""

    bom_format: _Present = msgspec.field(default=msgspec.UNSET, name="bomFormat")
    spec_version: _Present = msgspec.field(default=msgspec.UNSET, name="specVersion")
    spdx_version: _Present = msgspec.field(default=msgspec.UNSET, name="spdxVersion")
    context: _Present = msgspec.field(default=msgspec.UNSET, name="@context")
    graph: _Present = msgspec.field(default=msgspec.UNSET, name="@graph")
    statement_type: _Present = msgspec.field(default=msgspec.UNSET, name="_type")
    payload_type: _Present = msgspec.field(default=msgspec.UNSET, name="payloadType")
    media_type: _Present = msgspec.field(default=msgspec.UNSET, name="mediaType")
    verification_material: _Present = msgspec.field(default=msgspec.UNSET, name="verificationMaterial")
    pep740_material: _Present = msgspec.field(default=msgspec.UNSET, name="verification_material")
    attestation_bundles: _Present = msgspec.field(default=msgspec.UNSET)
    attestations: _Present = msgspec.field(default=msgspec.UNSET)
    provenance_summary: _Present = msgspec.field(default=msgspec.UNSET)
    dagster_event: _Present = msgspec.field(default=msgspec.UNSET, name="dagsterEvent")
    event_time: _Present = msgspec.field(default=msgspec.UNSET, name="eventTime")
    event_type: _Present = msgspec.field(default=msgspec.UNSET, name="eventType")


_KINDS: tuple[tuple[str, str], ...] = (
    ("bom_format", "cyclonedx"),
    ("spdx_version", "spdx-2"),
    ("graph", "spdx-3"),
    ("statement_type", "statement"),
    ("payload_type", "dsse"),
    ("verification_material", "sigstore-bundle"),
    ("pep740_material", "pep740"),
    ("attestation_bundles", "pep740-provenance"),
    ("attestations", "npm"),
    ("provenance_summary", "gcb"),
    ("dagster_event", "dagster"),
    ("event_time", "openlineage"),
    ("event_type", "openlineage"),
)


def check_bytes(content: bytes) -> None:
    """Refuse what no reader takes, before it is parsed.

    Raises:
        InputError: empty, too large, compressed, XML, or not UTF-8 text.
    """
    if not content or content.isspace():
        raise InputError("The document is empty", field="document")
    if len(content) > MAXIMUM_DOCUMENT_BYTES:
        raise InputError(
            f"A document has at most {MAXIMUM_DOCUMENT_BYTES // 1024 // 1024} MiB",
            field="document",
            value=f"{len(content)} bytes",
            mend="split it",
        )
    if content.startswith(tuple(_PACKED)):
        packing = next(name for magic, name in _PACKED.items() if content.startswith(magic))
        raise InputError(f"The document is packed with {packing}", field="document", mend="unpack it first")
    if _XML.match(content):
        raise InputError("XML documents are not read", field="document", mend="convert it to the JSON form")
    if content.startswith(_OTHER_TEXT):
        raise InputError(
            "The document begins with a byte order mark", field="document", mend="save it as UTF-8 without one"
        )
    if content.startswith(_TAG_VALUE):
        raise InputError("SPDX in tag-value form is not read", field="document", mend="convert it to the JSON form")


def is_xz(content: bytes) -> bool:
    """Tell whether the content is an xz stream; only package indices are read from one."""
    return content.startswith(_XZ)


def kind_of(content: bytes) -> str:
    """Return which reader takes a JSON object, or ``array`` or ``lines``.

    Raises:
        InputError: it is JSON that no reader takes, or no JSON.
    """
    begin = content.lstrip()[:1]
    if begin == b"[":
        return "array"
    if begin != b"{":
        raise InputError("Not a provenance document", field="document", mend=_MEND)
    try:
        probe = decoder_of(Probe).decode(content)
    except msgspec.ValidationError as error:
        raise InputError(f"Not a provenance document: {error}", field="document", mend=_MEND) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _first_line_is_json(content):
            return "lines"
        raise InputError(f"Not valid JSON, or cut off: {error}", field="document") from error
    for member, kind in _KINDS:
        if getattr(probe, member) is not msgspec.UNSET:
            return kind
    raise InputError("Not a provenance document", field="document", mend=_MEND)


def _first_line_is_json(content: bytes) -> bool:
    first, newline, rest = content.lstrip().partition(b"\n")
    if not newline or not rest.strip():
        return False
    try:
        decode(first, Probe, what="first line")
    except InputError:
        return False
    return True
