"""Names of nodes: a thing is named by its content where it has a digest, else by its canonical purl.

Forms of a node id:

- ``<algorithm>:<value>`` - an artifact by digest, the algorithm as in-toto's digest sets name it
  (``sha256:…``, ``gitCommit:…``, ``gce_image_id:…``); sha256 is preferred where several are known.
- ``pkg:…`` - a package without a digest, by canonical purl. A purl without a version is another
  node than one with it.
- ``gitoid:blob:sha256:…`` - a receipt, by the bytes of its envelope as they were received.
- ``run:<issuer>/<id>`` - an execution, by who ran it and the id given there.
- ``<scheme>:<namespace>/<name>[@version]`` with scheme dataset, job, asset or local - what has
  neither digest nor purl; ``local`` ids hold only inside the document whose digest they carry.

A node id is text of at most :data:`MAXIMUM_ID_LENGTH` characters without control characters. The store
keys nodes by :func:`node_key`, a 128-bit hash of that text: claims may name any digest without knowing
its content, so no part of a digest may serve as a key by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NewType
from urllib.parse import quote, unquote

from packageurl import PackageURL

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest

NodeId = NewType("NodeId", str)

MAXIMUM_ID_LENGTH = 4096
"""Characters; a real purl with qualifiers can pass 2,000."""

_PREFERRED = ("sha256", "sha512", "sha384", "gitCommit", "sha1", "gitTree", "gitBlob", "gitTag", "md5")
_ALGORITHM = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_VALUE = re.compile(r"[A-Za-z0-9+/=_.:-]{1,256}")
_HEX = re.compile(r"[0-9a-fA-F]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEX_LENGTH = {"sha256": 64, "sha512": 128, "sha384": 96, "sha224": 56, "sha1": 40, "md5": 32, "gitCommit": 0}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NODE_ID = r"[A-Za-z][A-Za-z0-9_]{0,31}:[^\x00-\x1f\x7f\ud800-\udfff]*+"
_NODE_IDS = re.compile(rf"{_NODE_ID}(?:\x00{_NODE_ID})*+")
_ENCODED = r"(?:[A-Za-z0-9._~:/@+=,;!*'()$-]|%[0-9A-Fa-f]{2})+"
_QUALIFIER = rf"[a-z][a-z0-9._-]*={_ENCODED}"
_PLAIN_PURL = re.compile(
    r"(pkg:(?:(?:cargo|conda|deb|docker|gem|generic|golang|maven|nuget|rpm|swift)"
    r"/[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*"
    r"|(?:alpm|apk|composer|github|gitlab|hex)/[a-z0-9._~-]+(?:/[a-z0-9._~-]+)*"
    r"|npm/(?:%40[a-z0-9._~-]+/)?[a-z0-9._~-]+"
    r"|pypi/[a-z0-9.~-]+))"
    rf"(?:@((?:[A-Za-z0-9._~:+-]|%[0-9A-Fa-f]{{2}})+))?(?:\?({_QUALIFIER}(?:&{_QUALIFIER})*))?"
)
"""Purls whose type, namespace and name are canonical as they stand, and version and qualifiers nearly so."""
_UNRESERVED = re.compile(r"[A-Za-z0-9._~:/-]+")
_NAMED_SCHEMES = frozenset({"dataset", "job", "asset", "local"})


def digest_id(digests: Mapping[str, str], *, field: str = "digest") -> NodeId:
    """Return the id of an artifact from its digest set; hexadecimal digits become lower case.

    Args:
        digests: algorithm to value, as in-toto's DigestSet.
        field: named in errors.

    Raises:
        InputError: the set is empty, or the preferred digest is malformed.
    """
    if not digests:
        raise InputError("An artifact without a digest cannot be named by content", field=field)
    value = digests.get("sha256")
    if type(value) is str and _SHA256.fullmatch(value):  # what nearly all are
        return NodeId(f"sha256:{value}")
    algorithm = next((name for name in _PREFERRED if name in digests), None) or min(digests)
    value = digests[algorithm]
    if not isinstance(value, str) or not _ALGORITHM.fullmatch(algorithm) or not _VALUE.fullmatch(value):
        raise InputError("Not a digest", field=field, value=f"{algorithm}:{value}")
    length = _HEX_LENGTH.get(algorithm)
    if length is not None:
        if not _HEX.fullmatch(value) or (length and len(value) != length):
            raise InputError(f"Not a {algorithm} digest", field=field, value=value)
        value = value.lower()
    return NodeId(f"{algorithm}:{value}")


@lru_cache(maxsize=200_000)
def package_id(purl: str, *, field: str = "purl") -> NodeId:
    """Return the canonical form of a purl (qualifiers sorted, percent-encoding and case normalised).

    Raises:
        InputError: the text is no purl.
    """
    plain = _PLAIN_PURL.fullmatch(purl)
    if plain is not None:
        canonical = _canonical(*plain.groups())
        if canonical is not None:
            return NodeId(canonical)
    try:
        return NodeId(PackageURL.from_string(purl).to_string())
    except ValueError as error:
        raise InputError(f"Not a package URL: {error}", field=field, value=purl) from error


def _canonical(path: str, version: str | None, qualifiers: str | None) -> str | None:
    """Return what the library, slowly, makes of a plain purl; None where only it knows."""
    if version is not None:
        encoded = _encoded(version)
        if encoded is None:
            return None
        path = f"{path}@{encoded}"
    if qualifiers is None:
        return path
    values: dict[str, str] = {}
    for each in qualifiers.split("&"):
        key, _, value = each.partition("=")
        encoded = _encoded(value)
        if encoded is None:
            return None
        values[key] = encoded
    return f"{path}?{'&'.join(f'{key}={values[key]}' for key in sorted(values))}"


def _encoded(text: str) -> str | None:
    """Return a text percent-encoded as purls are; None where white space at an end would be cut."""
    if _UNRESERVED.fullmatch(text):
        return text
    decoded = unquote(text)
    return quote(decoded).replace("%3A", ":") if decoded and decoded.strip() == decoded else None


def receipt_id(envelope: bytes) -> NodeId:
    """Return the gitoid (sha256) of an envelope's bytes exactly as received."""
    found = hashlib.sha256(b"blob %d\0" % len(envelope))
    found.update(envelope)
    return NodeId("gitoid:blob:sha256:" + found.hexdigest())


def execution_id(issuer: str, run: str) -> NodeId:
    """Return the id of an execution: who ran it, and the id given there.

    Raises:
        InputError: either part is empty.
    """
    if not issuer or not run:
        raise InputError("An execution needs an issuer and an id", field="run", value=f"{issuer}/{run}")
    return parse_node_id(f"run:{quote(issuer, safe=':@!$&()*+,;=~ ./-')}/{run}", field="run")


def named_id(scheme: str, namespace: str, name: str, version: str | None = None) -> NodeId:
    """Return the id of a thing without digest and purl, such as a dataset at a version.

    Args:
        scheme: dataset, job, asset or local.
        namespace: whose names these are; slashes in it are escaped, so that names cannot collide.
        name: the name there.
        version: the version, where there is one.

    Raises:
        InputError: an unknown scheme or an empty part.
    """
    if scheme not in _NAMED_SCHEMES or not namespace or not name:
        raise InputError("A named thing needs a known scheme, a namespace and a name", field=scheme, value=name)
    suffix = "" if version is None else f"@{version}"
    escaped = name.replace("%", "%25").replace("@", "%40")
    return parse_node_id(f"{scheme}:{quote(namespace, safe=':.-_~')}/{escaped}{suffix}", field=scheme)


def local_id(document: Digest, reference: str) -> NodeId:
    """Return an id that holds only inside one document, for what it names without digest or purl."""
    return named_id("local", document.removeprefix("sha256:"), reference)


def parse_node_id(text: str, *, field: str = "node") -> NodeId:
    """Check that ``text`` can name a node.

    Raises:
        InputError: it has no scheme, is too long, or holds control characters.
    """
    if not isinstance(text, str) or not _SCHEME.match(text) or _CONTROL.search(text):
        raise InputError(
            "Not a node id",
            field=field,
            value=text,
            mend="give a digest (sha256:…), a package URL (pkg:…), a receipt (gitoid:…) or an execution (run:…)",
        )
    if len(text) > MAXIMUM_ID_LENGTH:
        raise InputError(f"A node id has at most {MAXIMUM_ID_LENGTH} characters", field=field, value=text)
    return NodeId(text)


def check_node_ids(ids: Collection[str]) -> None:
    """Check that each text can name a node; see :func:`parse_node_id`."""
    # One pass over all of them, joined by what none may hold; only where something is wrong, one by one.
    joined = "\0".join(ids)
    well_formed = joined.count("\0") + 1 == len(ids) and _NODE_IDS.fullmatch(joined) is not None
    if not well_formed or max(map(len, ids)) > MAXIMUM_ID_LENGTH:
        for each in ids:
            parse_node_id(each)


def node_key(node: str) -> bytes:
    """Return the 16-byte key under which the store keeps a node: BLAKE2b of its id."""
    return hashlib.blake2b(node.encode(), digest_size=16).digest()
