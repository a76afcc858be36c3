"""The columns of execution facts; a change takes an ADR, because four capabilities read them."""

from __future__ import annotations

from enum import StrEnum

import polars as pl
from polars.datatypes import DataType, DataTypeClass


class Known(StrEnum):
    """When a feature's value is known, in order of time; only what is known before a run may predict it."""

    SUBMIT = "submit"
    READY = "ready"
    POST_HOC = "post-hoc"


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    DENIED = "denied"


class FaultOwner(StrEnum):
    """Whose fault it was that an attempt did not succeed."""

    PROVIDER = "provider"
    CUSTOMER = "customer"
    NONE = "none"


class Source(StrEnum):
    """Whether a row reports an execution that we ran, or was constructed by an overlay or a simulator."""

    REAL = "real"
    CONSTRUCTED = "constructed"


MOMENT = pl.Datetime("us", "UTC")
FEATURE = pl.Struct({"name": pl.String, "value": pl.Float64, "text": pl.String, "known": pl.String})
"""A feature is a number (``value``) or a text (``text``), and carries its own when-known mark."""

_COLUMNS: dict[str, DataType | DataTypeClass] = {
    "execution_id": pl.String,
    "attempt": pl.Int32,
    "tenant": pl.String,
    "workflow": pl.String,
    "service": pl.String,
    "cloud": pl.String,
    "region": pl.String,
    "published_at": MOMENT,
    "started_at": MOMENT,
    "finished_at": MOMENT,
    "outcome": pl.String,
    "fault_owner": pl.String,
    "excluded_reason": pl.String,
    "resource_seconds": pl.Float64,
    "price_id": pl.String,
    "cost_minor": pl.Int64,
    "currency": pl.String,
    "estimate_id": pl.String,
    "receipt_digest": pl.String,
    "features": pl.List(FEATURE),
    "source": pl.String,
    "recorded_at": MOMENT,
}
FACTS_SCHEMA = pl.Schema(_COLUMNS)

NULLABLE = frozenset({"started_at", "excluded_reason", "price_id", "estimate_id", "receipt_digest", "cloud", "region"})
"""Columns that may be null: a denied execution has no place, no start and no price; a constructed one no receipt."""

ENUMERATIONS: dict[str, frozenset[str]] = {
    "outcome": frozenset(Outcome),
    "fault_owner": frozenset(FaultOwner),
    "source": frozenset(Source),
}
