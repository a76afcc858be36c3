"""Sign a receipt, seal it with its log, and say where both are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement, Subject
from mc_pipelines.executions.receipt import PREDICATE_TYPE, Receipt
from mc_pipelines.executions.records import ReceiptRecord
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.logs import get_logger

_ENVELOPE = "application/vnd.in-toto+json"


class SealedStore(Protocol):
    """The part of :class:`mc_pipelines.keys.store.EncryptedObjectStore` that a runner needs."""

    def put(self, path: str, content: bytes, *, tenant: str, kind: str, object_id: str, content_type: str) -> Digest:
        """Seal and store an object once; return the digest of the sealed bytes."""
        ...

    def get(self, path: str, *, tenant: str) -> bytes:
        """Return the plaintext of an object of this tenant."""
        ...

    def exists(self, path: str, *, tenant: str) -> bool:
        """Tell whether an object of this tenant stands there."""
        ...


@dataclass(frozen=True, slots=True)
class Sealer:
    """Signs with the service's key and stores sealed.

    Args:
        store: of receipts, logs and input files.
        signer: returns the key as it is now; asked for each receipt, because keys rotate while a runner runs.
        erase: removes an object of the plain store; one that is not there is no error.
    """

    store: SealedStore
    signer: Callable[[], Signer]
    erase: Callable[[str], None]

    def seal(self, receipt: Receipt, *, at: datetime) -> ReceiptRecord:
        """Store log and signed receipt; the name holds the fence, so that a zombie overwrites nothing."""
        tenant = receipt.manifest.tenant
        object_id = f"{receipt.execution_id}-{receipt.fence}"
        log_path, path = _paths(tenant, receipt.execution_id, receipt.fence)
        statement = Statement(
            (Subject.of(receipt.subject_name, receipt.log_digest),), PREDICATE_TYPE, receipt.predicate()
        )
        envelope = statement.sign([self.signer()]).to_json()
        self.store.put(log_path, receipt.log, tenant=tenant, kind="log", object_id=object_id, content_type="text/plain")
        sealed = self.store.put(
            path, envelope, tenant=tenant, kind="receipt", object_id=object_id, content_type=_ENVELOPE
        )
        return ReceiptRecord(receipt.execution_id, receipt.attempt, tenant, sha256_digest(envelope), path, sealed, at)

    def discard(self, tenant: str, execution_id: UUID, fences: Iterable[int]) -> None:
        """Remove what claims sealed whose end does not count; their fences name it, so nothing else can be hit."""
        for fence in fences:
            for path in _paths(tenant, execution_id, fence):
                try:
                    self.erase(path)
                except (MaestroError, OSError) as error:  # a store that keeps everything for a time refuses
                    get_logger(__name__).warning("runner.orphan-kept", path=path, error=str(error))


def _paths(tenant: str, execution_id: UUID, fence: int) -> tuple[str, str]:
    name = f"{execution_id}-{fence}"
    return f"logs/{tenant}/{name}.log", f"receipts/{tenant}/{name}.dsse.json"
