"""The loop that gives acts their index: a checkpoint within a second of the act, whatever restarts or rotates."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from sqlalchemy.exc import SQLAlchemyError

from mc_pipelines.attest.checkpoint import Checkpoint
from mc_pipelines.attest.log import DEFAULT_ORIGIN, sequence
from mc_pipelines.attest.signer import Signer
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError, MaestroError
from mc_pipelines.foundation.logs import get_logger

INTERVAL_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
"""Between two attempts while database or key service do not answer."""

_log = get_logger(__name__)


def run(
    database: Database,
    signer_source: Callable[[], Signer],
    clock: Clock,
    stop: Event,
    interval: float = INTERVAL_SECONDS,
    *,
    origin: str = DEFAULT_ORIGIN,
    observe: Callable[[Checkpoint], None] = lambda _: None,
) -> int:
    """Sequence waiting acts until told to stop; return how many checkpoints were signed.

    Any number may run at once: an advisory lock lets one at a time work. What fails (the database is down, the key
    service refuses) is logged and tried again after a growing pause; no act is lost, since acts wait in the database.

    Args:
        database: as the application role.
        signer_source: asked for the signer before every batch, so that a rotated key is used from the next batch on.
        clock: tells when a checkpoint is signed.
        stop: ends the loop; a batch under way is finished first.
        interval: seconds between looks at the queue; half of what an act may wait at most.
        origin: the log's name.
        observe: told every checkpoint, such as to ask witnesses for their cosignatures.

    Raises:
        InputError: the interval is not a positive number of seconds.
    """
    if not interval > 0:
        raise InputError("The interval is a positive number of seconds", field="interval", value=interval)
    signed, failures = 0, 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            checkpoint = sequence(database, signer_source(), clock, origin=origin)
        except (MaestroError, SQLAlchemyError, OSError) as error:
            failures += 1
            pause = min(interval * 2**failures, LONGEST_PAUSE_SECONDS)
            _log.warning("sequencer.failed", error=str(error), failures=failures, pause_seconds=pause)
            stop.wait(pause)
            continue
        failures = 0
        if checkpoint is None:
            stop.wait(max(interval - (time.monotonic() - began), 0))
            continue
        signed += 1
        observe(checkpoint)
    return signed
