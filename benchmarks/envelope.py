"""MCE1 against raw AES-GCM and Fernet on the same bytes, in the same run: `python -m benchmarks.envelope --json`.

Seconds are those of the processor, best of the repeats, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mc_pipelines.keys.envelope import open_sealed, open_stream, seal, seal_stream
from mc_pipelines.keys.header import Header, Kind

PIECE = 1 << 20
HEADER = Header(Kind.RECEIPT, "acme", "r" * 36, "application/json", UUID(int=1), datetime.now(UTC))
DEK = os.urandom(32)


def best(work: Callable[[], None], repeat: int) -> float:
    seconds = []
    for _ in range(repeat):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def measure(mebibytes: int, objects: int, repeat: int) -> dict[str, float]:
    piece, small = os.urandom(PIECE), os.urandom(1000)
    raw, fernet = AESGCM(DEK), Fernet(base64.urlsafe_b64encode(DEK))
    nonce = os.urandom(12)

    def source() -> Iterator[bytes]:
        for _ in range(mebibytes):
            yield piece

    def drain(chunks: Iterator[object]) -> None:
        deque(chunks, maxlen=0)

    seal_seconds = best(lambda: drain(seal_stream(source(), HEADER, DEK)), repeat)
    both_seconds = best(lambda: drain(open_stream(seal_stream(source(), HEADER, DEK), lambda _: DEK).chunks), repeat)
    stream_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    raw_seconds = best(lambda: drain(raw.encrypt(nonce, piece, None) for _ in range(mebibytes)), repeat)
    token_count = min(mebibytes, 64)
    fernet_seconds = best(lambda: drain(fernet.encrypt(piece) for _ in range(token_count)), 2)
    sealed = [seal(small, HEADER, DEK) for _ in range(objects)]
    small_seal = best(lambda: drain(seal(small, HEADER, DEK) for _ in range(objects)), repeat)
    small_open = best(lambda: drain(open_sealed(one, lambda _: DEK) for one in sealed), repeat)
    fernet_small = best(lambda: drain(fernet.encrypt(small) for _ in range(objects)), repeat)
    mb = mebibytes * PIECE / 1e6
    return {
        "stream_seal_mb_s": mb / seal_seconds,
        "stream_seal_and_open_mb_s": mb / both_seconds,
        "raw_aesgcm_mb_s": mb / raw_seconds,
        "fernet_mb_s": token_count * PIECE / 1e6 / fernet_seconds,
        "seal_to_raw_aesgcm": raw_seconds / seal_seconds,
        "seal_to_fernet": (mb / seal_seconds) / (token_count * PIECE / 1e6 / fernet_seconds),
        "small_seal_per_s": objects / small_seal,
        "small_open_per_s": objects / small_open,
        "seconds_to_seal_a_million": small_seal / objects * 1e6,
        "seconds_to_open_a_million": small_open / objects * 1e6,
        "fernet_small_per_s": objects / fernet_small,
        "overhead_bytes_of_1_kb": len(sealed[0]) - len(small),
        "stream_peak_rss_mib": stream_rss,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    found = measure(given.mebibytes, given.objects, given.repeat)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:28} {value:12.1f}")


if __name__ == "__main__":
    main()
