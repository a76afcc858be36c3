"""The only writer and reader of receipts, logs and input files: everything it stores is sealed (MCE1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import Clock, SystemClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.keys.dek import DataKeys
from mc_pipelines.keys.envelope import SUITE, Preamble, open_sealed, read_preamble, seal
from mc_pipelines.keys.header import Header, Kind
from mc_pipelines.keys.location import check_header, read_location
from mc_pipelines.keys.provider import KeyProvider

MAX_OBJECT_BYTES = 512 << 20
"""A larger object is cut into parts by its writer: the store under this one takes whole objects."""


@dataclass(frozen=True, slots=True)
class WriteIntent:
    """What is about to be written; a policy says whether it may.

    Args:
        path: where.
        tenant: whose object it is.
        kind: ``receipt``, ``log`` or ``input``.
        suite: MCE1 suite, None for bytes that are not sealed.
        dek_id: the data key, as text.
        header_digest: digest of the header that is bound to the body.
        size: bytes to be stored.
    """

    path: str
    tenant: str
    kind: str
    suite: int | None
    dek_id: str
    header_digest: Digest
    size: int


Authorise = Callable[[WriteIntent], None]
"""Returns if the write may happen, raises ForbiddenError if not."""


def permit_sealed(intent: WriteIntent) -> None:
    """Allow what is sealed with the one known suite, and nothing else.

    Raises:
        ForbiddenError: the bytes are not sealed so.
    """
    if intent.suite != SUITE:
        raise ForbiddenError("Only sealed objects are written here", field="suite", value=intent.suite)


class EncryptedObjectStore:
    """Seals what it stores, and opens only what belongs to the tenant that asks."""

    def __init__(
        self,
        plain: ObjectStore,
        keyring: KeyProvider,
        database: Database,
        *,
        clock: Clock | None = None,
        authorise: Authorise = permit_sealed,
    ) -> None:
        self._plain = plain
        self._clock = clock or SystemClock()
        self._authorise = authorise
        self.data_keys = DataKeys(database, keyring, self._clock)

    def put(self, path: str, content: bytes, *, tenant: str, kind: str, object_id: str, content_type: str) -> Digest:
        """Seal and store an object, once; return the digest of the sealed bytes that are stored.

        A second call with the same content returns the digest of what the first one stored.

        Args:
            path: ``receipts/<tenant>/.../<object id>`` or ``logs/`` or ``inputs/``, with a suffix if wanted.
            content: the plaintext.
            tenant: whose object it is.
            kind: ``receipt``, ``log`` or ``input``.
            object_id: the identity of the object; the last part of the path begins with it.
            content_type: media type of the plaintext.

        Raises:
            InputError: path, kind or id is malformed, or the object is too large.
            EnvelopeError: the path is not that of this kind, tenant and id.
            ForbiddenError: the write policy refuses.
            ConflictError: there is an object with other content.
        """
        if len(content) > MAX_OBJECT_BYTES:
            raise InputError(
                f"An object is at most {MAX_OBJECT_BYTES >> 20} MiB",
                field="content",
                value=f"{len(content)} bytes",
                mend="write it in parts",
            )
        known = Kind.of(kind)
        data_key = self.data_keys.for_sealing(tenant, known, len(content))
        header = Header(known, tenant, object_id, content_type, data_key.dek_id, self._clock.now())
        check_header(path, header)
        sealed = seal(content, header, data_key.secret)
        self._authorise(_intent(path, sealed))
        if self._plain.put(path, sealed, if_absent=True):
            return sha256_digest(sealed)
        stored = self._plain.get(path)
        if self._open(path, stored, tenant)[1] != content:
            raise ConflictError("There is another object at this path", field="path", value=path)
        return sha256_digest(stored)

    def exists(self, path: str, *, tenant: str) -> bool:
        """Tell whether an object of this tenant stands at a path; another tenant's does not exist for it.

        Raises:
            InputError: it is no path of a sealed object.
        """
        return read_location(path).tenant == tenant and self._plain.exists(path)

    def get(self, path: str, *, tenant: str) -> bytes:
        """Return the plaintext of an object of this tenant.

        Raises:
            NotFoundError: there is no such object, or it is another tenant's.
            EnvelopeError: what stands there is not sealed, was altered, or belongs elsewhere.
        """
        return self.get_object(path, tenant=tenant)[1]

    def get_object(self, path: str, *, tenant: str) -> tuple[Header, bytes]:
        """Return header and plaintext; as :meth:`get`."""
        return self._open(path, self._plain.get(path), tenant)

    def _open(self, path: str, stored: bytes, tenant: str) -> tuple[Header, bytes]:
        def find_key(preamble: Preamble) -> bytes:
            header = preamble.header
            check_header(path, header)
            if header.tenant != tenant:
                raise NotFoundError("No such object", field="path", value=path)
            data_key = self.data_keys.for_opening(header.dek_id)
            if (data_key.tenant, data_key.kind) != (header.tenant, header.kind):
                raise NotFoundError("The data key is another tenant's", field="dek_id", value=str(header.dek_id))
            return data_key.secret

        return open_sealed(stored, find_key)


def _intent(path: str, sealed: bytes) -> WriteIntent:
    """Describe a write from the bytes themselves, not from what the writer believes of them."""
    preamble = read_preamble(sealed)
    return WriteIntent(
        path=path,
        tenant=preamble.header.tenant,
        kind=preamble.header.kind.label,
        suite=SUITE,
        dek_id=str(preamble.header.dek_id),
        header_digest=sha256_digest(preamble.fixed),
        size=len(sealed),
    )
