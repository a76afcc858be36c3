"""Numbers as ECMAScript writes them (RFC 8785 section 3.2.2.3), a hundred thousand of them, against published digests.

The numbers are those of RFC 8785's own test file, made again here: 168 chosen ones, 2,000 doubles from the smallest
normal one, then doubles out of a chain of SHA-256. A line is the bits in hexadecimal, a comma, the number.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

from mc_pipelines.foundation.canonical import canonical_json

SERIAL = 2000
_FIRST_NORMAL = 0x0010000000000000
# How far the file's thirds of powers of ten are from the correctly rounded ones, in units of the last place.
_OFF = (0, 0, 1, 1, 1, 2, 1, 1, 3, 1, 2, 2, 1, 1, 1, 0, 0, 0, -1, *[0] * 30, 1)


def double(bits: int) -> float:
    return float(struct.unpack(">d", bits.to_bytes(8, "big"))[0])


def bits_of(number: float) -> int:
    return int.from_bytes(struct.pack(">d", number), "big")


def beside(number: float, steps: int) -> float:
    """The double so many steps further from zero."""
    return double(bits_of(number) + steps)


def chosen() -> Iterator[float]:
    yield from (0.0, -0.0, math.ulp(0), -math.ulp(0))
    thirds = [beside(float(Fraction(10) ** (22 - place) / 3), off) for place, off in enumerate(_OFF)]
    yield from (-third for third in thirds)
    yield from thirds
    yield 10.0
    yield from (float(f"5e{-power}") for power in range(10))
    yield from (float(f"5.{'0' * zeros}6e-6") for zeros in range(1, 15))
    yield from (5e-6, 1.0, -1.0)
    yield from (beside(-1.0, -6), beside(-1.0, -5), beside(1.0, -6), beside(1.0, -5), beside(1.0, -4), beside(1.0, -2))
    yield from (beside(-1.0, -1), beside(-1.0, -1), beside(1.0, -1), beside(1.0, -1))
    yield from (beside(0.3, -1), 0.3, beside(0.3, 1))
    yield from (double(_FIRST_NORMAL), double(_FIRST_NORMAL - 3), double(_FIRST_NORMAL - 1))
    yield from (double(0x7FEFFFFFFFFFFFFF), double(0xFFEFFFFFFFFFFFFF), 2.0**53, -(2.0**53), 2.0**68)
    yield from (beside(1e23, -1), 1e23, beside(1e23, 1), beside(1e21, -2), beside(1e21, -1), 1e21)
    yield from (beside(1e-6, -1), 1e-6)
    third = 1_000_000_000 / 3
    yield from (beside(third, steps) for steps in range(-2, 3))
    yield from (-float(Fraction(1, 300_000)), 1424953923781206.2)


def numbers() -> Iterator[float]:
    yield from chosen()
    yield from (double(_FIRST_NORMAL + number) for number in range(SERIAL))
    block = bytes(32)
    for _ in count():
        block = hashlib.sha256(block).digest()
        for (number,) in struct.iter_unpack("<d", block):
            if number and math.isfinite(number):
                yield number


def test_every_number_has_its_canonical_text(data_dir: Path) -> None:
    published = json.loads((data_dir / "signing" / "rfc8785" / "es6-numbers.sha256.json").read_bytes())["sha256"]
    wanted = {int(lines): digest for lines, digest in published.items()}
    assert len(wanted) >= 3
    seen, found = hashlib.sha256(), {}
    for line, number in enumerate(islice(numbers(), max(wanted)), start=1):
        seen.update(f"{bits_of(number):x},".encode() + canonical_json(number) + b"\n")
        if line in wanted:
            found[line] = seen.hexdigest()
    assert found == wanted
