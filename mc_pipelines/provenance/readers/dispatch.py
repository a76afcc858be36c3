"""From content to reader."""

from __future__ import annotations

from collections.abc import Callable

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.readers.collector import Collector, Reading
from mc_pipelines.provenance.readers.cyclonedx import read_cyclonedx
from mc_pipelines.provenance.readers.dagster_event import read_materialization
from mc_pipelines.provenance.readers.debian import is_index, read_index, unpack_xz
from mc_pipelines.provenance.readers.detect import check_bytes, is_xz, kind_of
from mc_pipelines.provenance.readers.envelope import read_bundle, read_envelope, read_if_signed, read_statement
from mc_pipelines.provenance.readers.openlineage import read_event, read_event_lines, read_events
from mc_pipelines.provenance.readers.registries import (
    read_gcb,
    read_if_pep740,
    read_npm,
    read_pep740,
    read_pep740_provenance,
)
from mc_pipelines.provenance.readers.spdx2 import read_spdx2
from mc_pipelines.provenance.readers.spdx3 import read_spdx3

MAXIMUM_LINES = 100_000

_Reader = Callable[[bytes, Collector], None]


def read(content: bytes, name: str) -> Reading:
    """Read a document of any known format.

    Raises:
        InputError: the document is refused.
    """
    check_bytes(content)
    collector = Collector.of(content, name, "")
    unpacked = unpack_xz(content) if is_xz(content) else content
    if is_index(unpacked):
        read_index(unpacked, collector)
        return collector.finish()
    if unpacked is not content:
        raise InputError("The document is packed with xz", field="document", mend="unpack it first")
    if read_if_signed(content, collector) or read_if_pep740(content, collector):
        return collector.finish()
    kind = kind_of(content)
    if kind == "lines":
        _read_lines(content, collector)
    elif kind in _READERS:
        _READERS[kind](content, collector)
    else:
        raise InputError("Not a provenance document", field="document", value=kind)
    return collector.finish()


def _read_lines(content: bytes, collector: Collector) -> None:
    """Read JSON lines, each a receipt of its own; one that is refused refuses the document."""
    lines = [line for line in content.split(b"\n") if line.strip()]
    if len(lines) > MAXIMUM_LINES:
        raise InputError(f"A document has at most {MAXIMUM_LINES} lines", field="document", value=len(lines))
    if kind_of(lines[0]) == "openlineage":
        read_event_lines(lines, collector)
        return
    for number, line in enumerate(lines, start=1):
        try:
            _line_reader(kind_of(line))(line.strip(), collector)
        except InputError as error:
            raise InputError(f"Line {number}: {error.detail}", field=error.field, value=error.value) from error
    collector.format = f"{collector.format}-lines"


def _line_reader(kind: str) -> _Reader:
    reader = _LINE_READERS.get(kind)
    if reader is None:
        raise InputError("The line is no statement, envelope or bundle", field="document", value=kind)
    return reader


def _read_cyclonedx(content: bytes, collector: Collector) -> None:
    read_cyclonedx(content, collector, NodeId(collector.document))


def _read_spdx2(content: bytes, collector: Collector) -> None:
    read_spdx2(content, collector, NodeId(collector.document))


def _read_spdx3(content: bytes, collector: Collector) -> None:
    read_spdx3(content, collector, NodeId(collector.document))


_LINE_READERS: dict[str, _Reader] = {
    "statement": read_statement,
    "dsse": read_envelope,
    "sigstore-bundle": read_bundle,
}
_READERS: dict[str, _Reader] = {
    **_LINE_READERS,
    "array": read_events,
    "dagster": read_materialization,
    "cyclonedx": _read_cyclonedx,
    "openlineage": read_event,
    "spdx-2": _read_spdx2,
    "spdx-3": _read_spdx3,
    "gcb": read_gcb,
    "npm": read_npm,
    "pep740": read_pep740,
    "pep740-provenance": read_pep740_provenance,
}
