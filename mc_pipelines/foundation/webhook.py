"""Tell a person: one HTTP POST of JSON to the webhook of the settings."""

from __future__ import annotations

from typing import Any

import httpx
import structlog

log = structlog.get_logger(__name__)
_TIMEOUT_SECONDS = 5
_TRIES = 3


def post(url: str | None, message: dict[str, Any]) -> bool:
    """Send a message; return whether it was taken.

    A webhook that does not answer must not fail the one who reports a failure: it is tried three times,
    then logged.

    Args:
        url: the webhook's address; None logs only.
        message: any JSON object without secrets.
    """
    if url is None:
        log.warning("no webhook is set (MC_WEBHOOK_URL)", **message)
        return False
    for attempt in range(1, _TRIES + 1):
        try:
            httpx.post(url, json=message, timeout=_TIMEOUT_SECONDS).raise_for_status()
        except httpx.HTTPError as error:
            log.warning("the webhook did not take a message", attempt=attempt, error=str(error), **message)
        else:
            return True
    return False
