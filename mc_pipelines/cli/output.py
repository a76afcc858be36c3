"""What commands print: a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Protocol
from uuid import UUID

import typer

from mc_pipelines.foundation.clock import rfc3339

_WIDTH_OF_A_FILE = 200

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
"""The `--json` option; every command that prints data takes it."""


def print_json(value: Any) -> None:
    """Print a value as indented JSON; times as RFC 3339, Decimals as strings."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_encode))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table; a cell may be any value."""
    from rich.console import Console
    from rich.table import Table

    if title is not None:
        print(title)
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    # Into a pipe or a file a table is as wide as it needs; on a terminal as wide as that is.
    Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_A_FILE).print(table)


class Checked(Protocol):
    """What an offline checker found; each has its own class, since it shares no code with what it checks."""

    proved: list[str]
    problems: list[str]
    not_proved: list[str]

    @property
    def ok(self) -> bool:
        """Whether everything holds."""


def print_checked(found: Checked, *, holds: str, broken: str, json: bool) -> None:
    """Print what a checker found: one of two sentences and then a line for each finding, or JSON."""
    if json:
        print_json({"ok": found.ok, "proved": found.proved, "problems": found.problems, "notProved": found.not_proved})
        return
    print(holds if found.ok else broken)
    for heading, lines in (("proved", found.proved), ("wrong", found.problems), ("not proved", found.not_proved)):
        for line in lines:
            print(f"  {heading}: {line}")


def _cell(value: Any) -> str:
    """Return what a person reads: a time to the second in UTC (JSON has it whole), nothing for None."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return rfc3339(value.replace(microsecond=0))
    return "" if value is None else str(value)


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID | Path | Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not go into JSON")
