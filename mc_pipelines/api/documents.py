"""The shape of requests and answers: camelCase on the wire, strict on the way in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel

from mc_pipelines.foundation.clock import rfc3339

Moment = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    Field(description="RFC 3339, UTC", examples=["2026-01-19T17:00:00Z"]),
]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=500)]
"""Why somebody did something; goes into the audit log."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Answer(BaseModel):
    """A body that we send."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)


class Ask(BaseModel):
    """A body that we are sent: no member too many, nothing converted."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)
