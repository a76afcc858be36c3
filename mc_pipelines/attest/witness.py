"""A witness: remembers how far it has seen a log, and cosigns only what continues that (C2SP tlog-witness).

It runs apart from the log, with a key and a memory of its own, so that whoever holds the log's key cannot show two
people two trees: the witness signs at most one of them. What is remembered is on the disk before a signature leaves.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from mc_pipelines.attest.checkpoint import MAX_PROOF_HASHES, Checkpoint, verify_checkpoint
from mc_pipelines.attest.dsse import decode_base64
from mc_pipelines.attest.merkle import HASH_BYTES, verify_consistency
from mc_pipelines.attest.note import NoteKey, NoteSignature, NoteSigner, parse_note
from mc_pipelines.foundation.errors import ConfigurationError, InputError, VerificationError

COSIGNED, MALFORMED, UNTRUSTED, UNKNOWN_LOG, OTHER_SIZE, INCONSISTENT = 200, 400, 403, 404, 409, 422
MAX_REQUEST_BYTES = 64 * 1024
"""63 hashes and a checkpoint with its signatures stay well below."""

_NO_ROOT = b""


@dataclass(frozen=True)
class Answer:
    """What a witness says: HTTP status and text; the size it knows where the status is 409."""

    status: int
    text: str
    size: int | None = None


class WitnessMemory:
    """The newest tree head seen of each log, in one file that is replaced as a whole.

    A lock file lets any number of processes and threads share it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_name(path.name + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others from reading and writing."""
        with self._lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def newest(self, origin: str) -> tuple[int, bytes]:
        """Return size and root last remembered; (0, b"") for a log never seen.

        Raises:
            ConfigurationError: the file is damaged; a witness that forgot must not sign.
        """
        document = self._read().get(origin)
        try:
            return (0, _NO_ROOT) if document is None else (int(document["size"]), bytes.fromhex(document["root"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged() from error

    def remember(self, checkpoint: Checkpoint) -> None:
        """Write a head through to the disk."""
        document = self._read() | {checkpoint.origin: {"size": checkpoint.size, "root": checkpoint.root.hex()}}
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self) -> dict[str, Any]:
        if not self._path.exists():
            return {}
        try:
            document = json.loads(self._path.read_text("utf-8"))
        except ValueError as error:
            raise self._damaged() from error
        if not isinstance(document, dict):
            raise self._damaged()
        return document

    def _damaged(self) -> ConfigurationError:
        return ConfigurationError(
            "The witness's memory is damaged",
            field="--state",
            value=str(self._path),
            mend="restore it; a witness that starts anew under its old key could sign a fork",
        )


class Witness:
    """Cosigns checkpoints of the logs whose keys it knows."""

    def __init__(self, signer: NoteSigner, logs: Iterable[NoteKey], memory: WitnessMemory) -> None:
        self._signer = signer
        self._logs = tuple(logs)
        self._memory = memory

    @property
    def key(self) -> NoteKey:
        """What others verify this witness with."""
        return self._signer.key

    def add_checkpoint(self, request: bytes) -> Answer:
        """Answer a request of C2SP tlog-witness: a signature line, or why there is none.

        Args:
            request: ``old SIZE``, consistency proof, an empty line, the signed checkpoint.

        Raises:
            ConfigurationError: the memory is damaged.
        """
        try:
            old, proof, note = parse_request(request)
            origin = Checkpoint.parse(parse_note(note).text).origin
        except InputError as error:
            return Answer(MALFORMED, str(error))
        keys = [key for key in self._logs if key.name == origin]
        if not keys:
            return Answer(UNKNOWN_LOG, f"Log {origin} is not known here.")
        try:
            checkpoint, _ = verify_checkpoint(note, keys)
        except VerificationError as error:
            return Answer(UNTRUSTED, str(error))
        if old > checkpoint.size:
            return Answer(MALFORMED, "The old size is larger than the checkpoint's.")
        with self._memory.held():
            return self._cosign(checkpoint, old, proof)

    def _cosign(self, checkpoint: Checkpoint, old: int, proof: list[bytes]) -> Answer:
        size, root = self._memory.newest(checkpoint.origin)
        if old != size:
            return Answer(OTHER_SIZE, f"{size}\n", size)
        if size == checkpoint.size and size > 0:
            if proof or root != checkpoint.root:
                return Answer(OTHER_SIZE, f"{size}\n", size)
        elif size == 0:
            if proof:
                return Answer(INCONSISTENT, "A log never seen here comes without a proof.")
        else:
            try:
                verify_consistency(size, checkpoint.size, proof, root, checkpoint.root)
            except (InputError, VerificationError) as error:
                return Answer(INCONSISTENT, str(error))
        self._memory.remember(checkpoint)
        line = NoteSignature(self.key.name, self.key.key_hash, self._signer.sign_note(checkpoint.text))
        return Answer(COSIGNED, str(line))


def parse_request(content: bytes) -> tuple[int, list[bytes], str]:
    """Return the old size, the consistency proof and the note of a request.

    Raises:
        InputError: it is malformed.
    """
    try:
        head, separator, note = content.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError as error:
        raise InputError("The request is not UTF-8", field="request") from error
    first, *hashes = head.split("\n")
    number = first.removeprefix("old ")
    if not separator or not first.startswith("old ") or not number.isdecimal() or str(int(number)) != number:
        raise InputError("Not a request to a witness: `old SIZE`, a proof, an empty line, a checkpoint", field="old")
    if len(hashes) > MAX_PROOF_HASHES:
        raise InputError("The proof is too long", field="proof", value=len(hashes))
    proof = [decode_base64(line, field="proof") for line in hashes]
    if any(len(one) != HASH_BYTES for one in proof):
        raise InputError("A hash is 32 bytes", field="proof")
    return int(number), proof, note


def write_request(old: int, proof: Iterable[bytes], note: str) -> bytes:
    """Return the body of a request to a witness."""
    lines = [f"old {old}", *(base64.b64encode(one).decode("ascii") for one in proof)]
    return ("\n".join(lines) + "\n\n" + note).encode()


def open_witness_key(path: Path) -> Ed25519PrivateKey:
    """Return the witness's key from a PEM file that only its owner may read; a new one where there is none.

    Raises:
        ConfigurationError: the file holds no Ed25519 key.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Ed25519PrivateKey.generate()
        pem = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        return fresh
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"Not a private key: {error}", field="key.pem", value=str(path)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError("A witness signs with an Ed25519 key", field="key.pem", value=str(path))
    return key
