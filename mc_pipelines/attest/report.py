"""What a verification says: what it proved, what it did not, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """The result of verifying one file; sentences for people, in the order in which they were established."""

    kind: str
    proved: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether something was proved and nothing is wrong."""
        return bool(self.proved) and not self.problems

    def to_document(self) -> dict[str, Any]:
        """Return the report as JSON members."""
        return {
            "kind": self.kind,
            "ok": self.ok,
            "proved": self.proved,
            "notProved": self.not_proved,
            "problems": self.problems,
        }
