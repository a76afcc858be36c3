"""Reads facts from files that others write: JSON, JSON lines, CSV with our column names, CSV in FOCUS columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mc_pipelines.foundation.canonical import parse_json, sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.sla.facts import Fact, Kind, facts_of

_FOCUS = {
    "BilledCost",
    "BillingCurrency",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "SubAccountId",
    "ServiceName",
}


def read_facts(path: Path, kind: Kind) -> list[Fact]:
    """Read all facts of a file, or none: a file with one bad row is refused whole.

    Raises:
        InputError: the file cannot be read, or a row is malformed; the message names row and field.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"The file cannot be read: {error.strerror}", field="path", value=str(path)) from error
    facts: dict[str, Fact] = {}
    for number, row in enumerate(_rows(path, content, kind), start=1):
        try:
            found = facts_of(kind, row)
        except InputError as error:
            raise InputError(
                f"Row {number}: {error.detail}", field=error.field, value=error.value, mend=error.mend
            ) from error
        for fact in found:
            if facts.get(fact.fact_id, fact) != fact:
                raise InputError(
                    f"Row {number}: the id stands twice with different content", field="id", value=fact.fact_id
                )
            facts[fact.fact_id] = fact
    return list(facts.values())


def _rows(path: Path, content: bytes, kind: Kind) -> Iterator[dict[str, Any]]:
    if path.suffix == ".csv":
        yield from _csv_rows(content, kind, path.name)
        return
    if path.suffix in {".jsonl", ".ndjson"}:
        for line in content.splitlines():
            if line.strip():
                yield parse_json(line, what="row")
        return
    document = parse_json(content, what="file of facts")
    rows = document if isinstance(document, list) else [document]
    yield from rows


def _csv_rows(content: bytes, kind: Kind, source: str) -> Iterator[dict[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
        names = list(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The file is not CSV in UTF-8: {error}", field="path", value=source) from error
    columns = set(names)
    if len(columns) != len(names):
        raise InputError("A column stands twice in the header", field="path", value=source)
    if any(None in row or None in row.values() for row in rows):
        raise InputError("A row has more or fewer cells than the header", field="path", value=source)
    if kind is Kind.CHARGE and columns >= _FOCUS:
        yield from (_from_focus(row, source) for row in rows if row.get("ChargeCategory", "Usage") != "Tax")
        return
    for row in rows:
        yield {name: value for name, value in row.items() if value != ""}


def _from_focus(row: dict[str, str], source: str) -> dict[str, Any]:
    """Return a charge of a FOCUS row; a row without an id of its own is named by its content."""
    identity = row.get("x_ChargeId") or sha256_digest(repr(sorted(row.items())).encode())
    return {
        "id": f"focus/{identity}",
        "tenant": row["SubAccountId"],
        "service": row["ServiceName"],
        "from": row["ChargePeriodStart"],
        "until": row["ChargePeriodEnd"],
        "amount": row["BilledCost"],
        "currency": row["BillingCurrency"],
        "source": row.get("x_Source") or source,
    }
