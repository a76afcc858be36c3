"""Log checkpoints (C2SP tlog-checkpoint) and self-contained inclusion proofs (C2SP tlog-proof)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mc_pipelines.attest.dsse import decode_base64
from mc_pipelines.attest.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from mc_pipelines.attest.note import COSIGNATURE, NoteKey, cosigned_at, parse_note, verify_note
from mc_pipelines.foundation.errors import InputError

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_HASHES = 63

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_BODY_LINES = 3


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: who it is, how many leaves it has, and their Merkle root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note text that is signed."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode("ascii"), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a checkpoint note.

        Raises:
            InputError: it is not the text of a checkpoint.
        """
        lines = text.split("\n")
        if lines.pop() != "" or len(lines) < _BODY_LINES or not all(lines):
            raise InputError("Not a checkpoint: origin, size, root", field="checkpoint", value=text)
        root = decode_base64(lines[2], field="root hash")
        if len(root) != HASH_BYTES:
            raise InputError("A root hash is 32 bytes", field="root hash", value=lines[2])
        return cls(lines[0], _number(lines[1], "tree size"), root, tuple(lines[3:]))


def verify_checkpoint(note: bytes | str, keys: Iterable[NoteKey]) -> tuple[Checkpoint, tuple[NoteKey, ...]]:
    """Return the checkpoint in a signed note, and which trusted keys of the log signed it.

    Only keys whose name is the checkpoint's origin count: a witness or another log does not speak for this one.

    Raises:
        InputError: it is no signed checkpoint.
        VerificationError: no trusted key of that origin signed it, or a trusted key's line does not hold.
    """
    parsed = parse_note(note)
    checkpoint = Checkpoint.parse(parsed.text)
    return checkpoint, verify_note(parsed, [key for key in keys if key.name == checkpoint.origin])


@dataclass(frozen=True)
class Cosigned:
    """Which witness saw a checkpoint, and when."""

    witness: str
    at: datetime


def verify_cosignatures(note: bytes | str, witnesses: Sequence[NoteKey]) -> list[Cosigned]:
    """Return the trusted witnesses that signed a checkpoint note, each once; others are passed over.

    Raises:
        VerificationError: a line that names a trusted witness does not hold.
    """
    parsed = parse_note(note)
    known = {(key.name, key.key_hash): key for key in witnesses if key.kind == COSIGNATURE}
    found: dict[str, Cosigned] = {}
    for line in parsed.signatures:
        key = known.get((line.name, line.key_hash))
        if key is not None:
            key.verify(parsed.text, line.signature)
            at = datetime.fromtimestamp(cosigned_at(line.signature), UTC)
            found.setdefault(str(key), Cosigned(key.name, at))
    return list(found.values())


@dataclass(frozen=True)
class LogProof:
    """Everything that shows offline that an entry is in the log: index, audit path, checkpoint note, the entry.

    Attributes:
        index: the entry's number, from 0.
        hashes: the audit path, leaf's sibling first.
        note: the signed checkpoint, verbatim.
        entry: the entry's bytes, in the ``extra`` line; unauthenticated until :meth:`verify` has run.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: str
    entry: bytes | None = None

    def __str__(self) -> str:
        """Return the proof in the tlog-proof format."""
        lines = [PROOF_HEADER]
        if self.entry is not None:
            lines.append(f"extra {base64.b64encode(self.entry).decode('ascii')}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(one).decode("ascii") for one in self.hashes]
        return "\n".join(lines) + "\n\n" + self.note

    @classmethod
    def parse(cls, content: bytes | str) -> LogProof:
        """Read a ``.tlog-proof`` file.

        Raises:
            InputError: it is none.
        """
        try:
            text = content.decode("utf-8") if isinstance(content, bytes) else content
        except UnicodeDecodeError as error:
            raise InputError("The proof is not UTF-8", field="proof") from error
        head, separator, note = text.partition("\n\n")
        lines = head.split("\n")
        if not separator or lines.pop(0) != PROOF_HEADER or not lines:
            raise InputError("Not a log proof", field="proof", mend=f"its first line must be {PROOF_HEADER}")
        entry = decode_base64(lines.pop(0)[6:], field="extra") if lines[0].startswith("extra ") else None
        if not lines or not lines[0].startswith("index "):
            raise InputError("The proof names no index", field="index")
        index = _number(lines.pop(0)[6:], "index")
        if len(lines) > MAX_PROOF_HASHES:
            raise InputError("The proof is too long", field="proof", value=len(lines))
        parse_note(note)
        return cls(index, tuple(decode_base64(line, field="proof") for line in lines), note, entry)

    def verify(self, entry: bytes, keys: Iterable[NoteKey]) -> Checkpoint:
        """Check that the log whose key is trusted holds exactly this entry; return its checkpoint.

        Raises:
            InputError: the note inside is no checkpoint.
            VerificationError: the checkpoint's signature or the audit path does not hold.
        """
        checkpoint, _ = verify_checkpoint(self.note, keys)
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint


def _number(text: str, field: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InputError("Not a decimal number without leading zeros", field=field, value=text)
    return int(text)
