"""OPA bundles of packs: built byte for byte the same everywhere, named by their digest, signed when stored.

A bundle is a gzipped tar with ``/.manifest`` (revision, roots, rego_version), ``/<pack>/data.json`` and the
modules (openpolicyagent.org, "Bundle File Format"). An OPA server that loads it reports our revision. A stored one
also has ``/.signatures.json``, which `policy.bundle_signature` makes and checks.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mc_pipelines.attest.signer import Signer
from mc_pipelines.decision.packs import Pack, read_pack_files
from mc_pipelines.foundation.canonical import canonical_json, sha256_digest
from mc_pipelines.foundation.errors import InputError, NotFoundError, VerificationError
from mc_pipelines.foundation.ids import Digest, KeyId
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.policy.bundle_signature import SIGNATURES, sign_files, verify_files

_LARGEST_BUNDLE = 8_000_000
"""Bytes, uncompressed; a bundle beyond it is refused before it is unpacked."""
_LARGEST_COUNT = 1_000


@dataclass(frozen=True)
class Bundle:
    """A built bundle.

    Attributes:
        pack: the pack's name.
        revision: the pack's revision, as the manifest says.
        digest: of ``content``.
        content: the tar.gz.
    """

    pack: str
    revision: Digest
    digest: Digest
    content: bytes


def build_bundle(pack: Pack) -> Bundle:
    """Build a pack's bundle; tests stay out of it."""
    manifest = {
        "revision": pack.revision,
        "roots": [pack.name],
        "rego_version": 1,
        "metadata": {"title": pack.metadata.get("title", pack.name)},
    }
    members = {".manifest": canonical_json(manifest), f"{pack.name}/data.json": canonical_json(pack.data)}
    members |= {module.path: module.text.encode() for module in pack.modules}
    content = _pack_members(members)
    return Bundle(pack.name, pack.revision, sha256_digest(content), content)


def sign_bundle(bundle: Bundle, signer: Signer) -> Bundle:
    """Return the bundle with the signature of a key over its files; its digest is another one."""
    members = _unpack(bundle.content)
    members.pop(SIGNATURES, None)
    content = _pack_members(members | {SIGNATURES: sign_files(members, signer)})
    return replace(bundle, digest=sha256_digest(content), content=content)


def _pack_members(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(members):
            entry = tarfile.TarInfo(f"/{path}")
            entry.size, entry.mode, entry.mtime = len(members[path]), 0o644, 0
            archive.addfile(entry, io.BytesIO(members[path]))
    return _gzip(buffer.getvalue())


def _gzip(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content, compresslevel=9, mtime=0))
    packed[9] = 255  # the operating system's number in the header: "unknown", the same everywhere
    return bytes(packed)


def open_bundle(content: bytes, *, trusted: Mapping[KeyId, bytes] | None = None) -> Pack:
    """Read a bundle back into the pack it was built from.

    Args:
        content: the tar.gz.
        trusted: keys (PEM), one of which must have signed exactly these files; None = the bundle may be unsigned.

    Raises:
        InputError: it is no bundle of ours, or too large.
        VerificationError: no trusted key signed it, or its files do not have the revision that its manifest says.
        PackRefusedError: it holds what our loader refuses.
    """
    files = _unpack(content)
    signatures = files.pop(SIGNATURES, None)
    if trusted is not None:
        verify_files(files, signatures, trusted)
    try:
        manifest = json.loads(files.pop(".manifest"))
        name, revision = str(manifest["roots"][0]), str(manifest["revision"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError("The bundle has no manifest with a root and a revision", field="bundle") from error
    pack = read_pack_files(name, files)
    if pack.revision != revision:
        raise VerificationError("The bundle's files are not of its revision", field="revision", value=revision)
    return pack


def _unpack(content: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(_LARGEST_BUNDLE + 1)
        if len(unpacked) > _LARGEST_BUNDLE:
            raise InputError(f"The bundle unpacks to more than {_LARGEST_BUNDLE} bytes", field="bundle")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            for entry in archive:
                path = entry.name.lstrip("/")
                if not entry.isfile() or ".." in path.split("/") or path in files or len(files) >= _LARGEST_COUNT:
                    raise InputError("The bundle holds an entry that is no plain file", field="bundle", value=path)
                stream_of = archive.extractfile(entry)
                files[path] = b"" if stream_of is None else stream_of.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InputError(f"Not a gzipped tar: {error}", field="bundle") from error
    return files


def store_bundle(store: ObjectStore, bundle: Bundle, signer: Signer, *, trusted: Mapping[KeyId, bytes]) -> str:
    """Sign a bundle and put it under its revision; return the path.

    One that is there already with a signature that counts stays; one whose signature counts no more (its key was
    compromised) or that was altered is replaced.
    """
    path = bundle_path(bundle.pack, bundle.revision)
    try:
        load_bundle(store, bundle.pack, bundle.revision, trusted=trusted)
    except (NotFoundError, VerificationError, InputError):
        store.put(path, sign_bundle(bundle, signer).content, if_absent=False)
    return path


def load_bundle(store: ObjectStore, pack: str, revision: Digest, *, trusted: Mapping[KeyId, bytes]) -> Pack:
    """Return the pack of a stored revision.

    Args:
        store: the plain store; nothing in it is believed.
        pack: the pack's name.
        revision: what is wanted.
        trusted: the service's keys (PEM); one must have signed the bundle.

    Raises:
        NotFoundError: it was never stored.
        VerificationError: no trusted key signed it, or what is stored is another revision.
    """
    found = open_bundle(store.get(bundle_path(pack, revision)), trusted=trusted)
    if (found.name, found.revision) != (pack, revision):
        raise VerificationError("The stored bundle is of another revision", field="revision", value=revision)
    return found


def bundle_path(pack: str, revision: Digest) -> str:
    """Return where a revision's bundle lies in the object store."""
    return f"policy/bundles/{pack}/{revision.removeprefix('sha256:')}.tar.gz"
