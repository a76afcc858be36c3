"""Where sealed objects stand: the path says kind, tenant and object id, and the sealed header must say the same."""

from __future__ import annotations

from dataclasses import dataclass

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import parse_name
from mc_pipelines.foundation.object_store import check_path
from mc_pipelines.keys.header import Defect, EnvelopeError, Header, Kind

PREFIXES = {Kind.RECEIPT: "receipts", Kind.LOG: "logs", Kind.INPUT: "inputs"}
"""The folders of the object store that hold nothing unsealed."""
_KINDS = {folder: kind for kind, folder in PREFIXES.items()}
_LEAST_PARTS = 3


@dataclass(frozen=True, slots=True)
class Location:
    """What a path claims about the object there."""

    kind: Kind
    tenant: str
    name: str
    """The last segment: the object id, and perhaps a suffix after a dot."""


def object_path(kind: Kind | str, tenant: str, object_id: str, *, folder: str = "", suffix: str = "") -> str:
    """Return the path of a sealed object: ``receipts/<tenant>/<folder>/<object id><suffix>``.

    Raises:
        InputError: a part is not allowed in a path.
    """
    known = kind if isinstance(kind, Kind) else Kind.of(kind)
    middle = f"{folder.strip('/')}/" if folder else ""
    return check_path(f"{PREFIXES[known]}/{parse_name(tenant, field='tenant')}/{middle}{object_id}{suffix}")


def read_location(path: str) -> Location:
    """Return what a path claims.

    Raises:
        InputError: it is no path of a sealed object.
    """
    parts = check_path(path).split("/")
    kind = _KINDS.get(parts[0])
    if kind is None or len(parts) < _LEAST_PARTS:
        raise InputError(
            "Not a path of sealed objects",
            field="path",
            value=path,
            mend="write receipts/<tenant>/.../<object id>, or logs/ or inputs/ instead",
        )
    return Location(kind, parts[1], parts[-1])


def check_header(path: str, header: Header) -> None:
    """Refuse a sealed object that does not belong where it stands.

    Raises:
        EnvelopeError: kind, tenant or object id is another than the path's.
    """
    claimed = read_location(path)
    if (
        header.kind is not claimed.kind
        or header.tenant != claimed.tenant
        or not (claimed.name == header.object_id or claimed.name.startswith(header.object_id + "."))
    ):
        raise EnvelopeError(
            Defect.CONTEXT,
            f"The object at {path} is the {header.kind.label} {header.object_id} of tenant {header.tenant}",
            field="path",
            value=path,
        )
