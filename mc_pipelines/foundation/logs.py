"""Structured logging: lines for people on a terminal, JSON objects for machines; always on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from mc_pipelines.foundation.settings import Settings

_SECRET_WORDS = ("password", "passphrase", "secret", "token", "private_key", "authorization")
MASK = "***"


def configure(settings: Settings) -> None:
    """Set up logging of this process once, by level and form of the settings."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_json
        # The plain form of a traceback: the default one shows the local variables of every frame, secrets included.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _name_logger,
            mask_secrets,
            *([structlog.processors.format_exc_info] if settings.log_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level]),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Any:
    """Return a logger that says where its lines come from; made before :func:`configure`, it still follows it."""
    return structlog.get_logger(_logger=name)


def _name_logger(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if "_logger" in event:  # `logger` itself is no name that structlog lets be set before it is configured
        event["logger"] = event.pop("_logger")
    return event


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the values of fields whose name says that they are secret; a structlog processor."""
    for name in event:
        if any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = MASK
    return event
