"""Which package a node is a version of: by its own purl, or by the purl that an alias claim gives it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.location import Opened
from mc_pipelines.provenance.model import PUBLIC, VerificationStatus

_PURL = re.compile(r"(pkg:[^?#@]+)(?:@([^?#]*))?([?#].*)?")


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a package.

    Attributes:
        package: the purl without version and qualifiers.
        version: the version; None where the purl has none.
        by: ``purl`` or ``alias``: how the node was told to be it.
    """

    package: str
    version: str | None
    by: str


def version_of(purl: str, by: str = "purl") -> Version | None:
    """Return the package and version in a canonical purl, None for any other id."""
    found = _PURL.fullmatch(purl)
    return None if found is None else Version(found[1], found[2], by)


def versions_of(opened: Opened, names: Collection[str], resolve: str) -> dict[str, Version]:
    """Return which package each node is a version of; nodes of which nobody says so are left out.

    Args:
        opened: what may be seen.
        names: ids of nodes.
        resolve: which alias claims count: ``verified``, ``claimed`` or ``none``.
    """
    found = {name: version for name in names if (version := version_of(name)) is not None}
    unnamed = [name for name in names if name not in found]
    if resolve == "none" or not unnamed:
        return found
    by_key = {str(UUID(bytes=node_key(name))): name for name in unnamed}
    with opened.store.database.begin(tenant=opened.tenant) as connection:
        rows = connection.execute(
            text(
                "select a.tenant, a.seq, a.mine, n.id from ("
                " select tenant, seq, first as mine, second as other from provenance_aliases"
                " where first = any(cast(:keys as uuid[]))"
                " union all select tenant, seq, second, first from provenance_aliases"
                " where second = any(cast(:keys as uuid[]))) as a"
                " join provenance_nodes n on n.tenant = a.tenant and n.node = a.other"
                " where a.tenant in (:tenant, :public) and n.id like 'pkg:%' order by n.id"
            ),
            {"keys": list(by_key), "tenant": opened.tenant, "public": PUBLIC},
        ).all()
    for row in rows:
        if not opened.may_read(row.tenant, row.seq):
            continue
        if resolve == "verified" and opened.status_of(row.tenant, row.seq) is not VerificationStatus.VERIFIED:
            continue
        version = version_of(row.id, "alias")
        if version is not None:
            found.setdefault(by_key[str(row.mine)], version)
    return found
