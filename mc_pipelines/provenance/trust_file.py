"""The file that says whom verification at ingest believes besides ourselves: JSON, kept by the operators.

Members, all optional::

    {"keys": [{"holder": "Cloud Build", "file": "global-pae.pub", "schemes": ["dsse-pae"],
               "builders": ["https://cloudbuild.example/*"], "hints": ["projects/…/1"], "revoked": false}],
     "identities": [{"issuer": "https://token.actions.example", "subject": "https://…@refs/tags/*", "builders": []}],
     "sigstoreRoot": "trusted_root.json", "keyless": true}

A key stands in ``pem`` or in a ``file`` beside this one. Without ``sigstoreRoot`` keyless signatures are judged by the
root of the public instance that is pinned with the installed library. Nothing is ever fetched.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.trust_roots import ExpectedIdentity, Scheme, TrustedKey, TrustRoots


class _Key(msgspec.Struct, forbid_unknown_fields=True):
    holder: str
    pem: str | None = None
    file: str | None = None
    schemes: list[Scheme] = msgspec.field(default_factory=lambda: [Scheme.DSSE_PAE])
    builders: list[str] = msgspec.field(default_factory=list)
    hints: list[str] = msgspec.field(default_factory=list)
    revoked: bool = False


class _Identity(msgspec.Struct, forbid_unknown_fields=True):
    issuer: str
    subject: str
    builders: list[str] = msgspec.field(default_factory=list)


class _Document(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    keys: list[_Key] = msgspec.field(default_factory=list)
    identities: list[_Identity] = msgspec.field(default_factory=list)
    sigstore_root: str | None = None
    keyless: bool = True


def load_trust_file(path: Path) -> TrustRoots:
    """Read a trust file and the keys and the root that lie beside it.

    Raises:
        InputError: a file is missing, not of this form, or holds a key that verifies nothing here.
    """
    try:
        document = msgspec.json.decode(_content(path), type=_Document)
    except msgspec.DecodeError as error:
        raise InputError(
            f"Not a provenance trust file: {error}",
            field="trust file",
            value=str(path),
            mend="docs/provenance/readers.md shows its form",
        ) from error
    keys = tuple(_key(one, path.parent) for one in document.keys)
    for key in keys:
        _ = key.key_id  # a key that cannot be read is refused now, not at the first document that it signed
    root = None if document.sigstore_root is None else _content(path.parent / document.sigstore_root)
    identities = tuple(ExpectedIdentity(one.issuer, one.subject, tuple(one.builders)) for one in document.identities)
    return TrustRoots(keys=keys, identities=identities, sigstore_root=root, keyless=document.keyless)


def _key(key: _Key, folder: Path) -> TrustedKey:
    if (key.pem is None) == (key.file is None):
        raise InputError("A trusted key stands in `pem` or in a `file`, one of them", field="keys", value=key.holder)
    pem = key.pem.encode() if key.pem is not None else _content(folder / str(key.file))
    if not key.holder or not key.schemes:
        raise InputError("A trusted key has a holder and a scheme", field="keys", value=key.holder)
    return TrustedKey(key.holder, pem, frozenset(key.schemes), tuple(key.builders), tuple(key.hints), key.revoked)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot be read: {error.strerror}", field="trust file", value=str(path)) from error
