"""Key slots of an MCE1 object: the data key wrapped to one or more key encryption keys, any of which opens it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.keys.header import Defect, EnvelopeError

MAX_SLOTS = 32
_MAX_REFERENCE = 1024
_MAX_WRAPPED = 4096
_SLOT_HEAD = struct.Struct(">BH")
_LENGTH = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Slot:
    """One wrapping of a data key.

    Args:
        provider: code of the key provider (:class:`mc_pipelines.keys.provider.ProviderCode`).
        kek_ref: the full version id of the wrapping key, as its provider names it.
        wrapped: the wrapped data key, in the provider's own form.
    """

    provider: int
    kek_ref: str
    wrapped: bytes


def write_slots(slots: Sequence[Slot]) -> bytes:
    """Return the slot block: a count, then the slots.

    Raises:
        InputError: there are too many slots, or one is too long.
    """
    if len(slots) > MAX_SLOTS:
        raise InputError(f"An object carries at most {MAX_SLOTS} slots", field="slots", value=len(slots))
    parts = [_LENGTH.pack(len(slots))]
    for slot in slots:
        reference = slot.kek_ref.encode("utf-8")
        if not 0 < len(reference) <= _MAX_REFERENCE or not 0 < len(slot.wrapped) <= _MAX_WRAPPED:
            raise InputError("A slot's key reference or wrapped key is empty or too long", field="slots")
        parts += [
            _SLOT_HEAD.pack(slot.provider, len(reference)),
            reference,
            _LENGTH.pack(len(slot.wrapped)),
            slot.wrapped,
        ]
    return b"".join(parts)


def read_slots(take: Callable[[int], bytes]) -> tuple[tuple[Slot, ...], bytes]:
    """Read a slot block by ``take(n)``, which returns exactly n bytes; return the slots and the block's bytes.

    Raises:
        EnvelopeError: the block is malformed.
    """
    field = take(_LENGTH.size)
    (count,) = _LENGTH.unpack(field)
    if count > MAX_SLOTS:
        raise EnvelopeError(Defect.SLOTS, f"The object claims {count} key slots")
    slots, raw = [], bytearray(field)
    for _ in range(count):
        head = take(_SLOT_HEAD.size)
        provider, length = _SLOT_HEAD.unpack(head)
        reference = take(_checked(length, _MAX_REFERENCE))
        size = take(_LENGTH.size)
        wrapped = take(_checked(_LENGTH.unpack(size)[0], _MAX_WRAPPED))
        raw += head + reference + size + wrapped
        try:
            slots.append(Slot(provider, reference.decode("utf-8"), wrapped))
        except UnicodeDecodeError as error:
            raise EnvelopeError(Defect.SLOTS, "A slot's key reference is not UTF-8") from error
    return tuple(slots), bytes(raw)


def _checked(length: int, limit: int) -> int:
    if not 0 < length <= limit:
        raise EnvelopeError(Defect.SLOTS, f"A slot has a field of {length} bytes")
    return length
