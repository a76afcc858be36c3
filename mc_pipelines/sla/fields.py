"""Reads a parsed document field by field and refuses what it does not know."""

from __future__ import annotations

from typing import Any

from mc_pipelines.foundation.errors import InputError


class Fields:
    """The members of one object of a document, each taken once; :meth:`done` refuses the rest.

    Args:
        value: the parsed object, or None for one that is absent.
        path: where it stands, for messages.

    Raises:
        InputError: the value is no object.
    """

    def __init__(self, value: Any, path: str) -> None:
        if value is not None and not isinstance(value, dict):
            raise InputError("Not an object", field=path, value=value)
        self.absent = value is None
        self._left: dict[str, Any] = dict(value or {})
        self._path = path

    def take(self, name: str) -> Any:
        """Return a required member.

        Raises:
            InputError: it is missing.
        """
        if self._left.get(name) is None:
            raise InputError("A required field is missing", field=self.name(name))
        return self._left.pop(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an optional member."""
        value = self._left.pop(name, None)
        return default if value is None else value

    def text(self, name: str) -> str:
        """Return a required member that is non-empty text.

        Raises:
            InputError: it is missing or no text.
        """
        value = self.take(name)
        # The database cannot hold a NUL in text.
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise InputError("Not text", field=self.name(name), value=value)
        return value

    def integer(self, name: str, *, at_least: int) -> int:
        """Return a required whole number.

        Raises:
            InputError: it is missing, no whole number or too small.
        """
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise InputError(f"Not a whole number of at least {at_least}", field=self.name(name), value=value)
        return value

    def constant(self, name: str, expected: Any) -> None:
        """Take a member that may only have one value.

        Raises:
            InputError: it has another.
        """
        value = self._left.pop(name, None)
        if value != expected:
            raise InputError("Not what stands here", field=self.name(name), value=value, mend=f"write {expected}")

    def section(self, name: str, *, optional: bool = False) -> Fields:
        """Return a member that is an object.

        Raises:
            InputError: it is missing and not optional, or no object.
        """
        value = self.get(name) if optional else self.take(name)
        return Fields(value, self.name(name))

    def sections(self, name: str) -> list[Fields]:
        """Return a required member that is a list of objects.

        Raises:
            InputError: it is missing or no such list.
        """
        value = self.take(name)
        if not isinstance(value, list):
            raise InputError("Not a list", field=self.name(name), value=value)
        return [Fields(item, f"{self.name(name)}[{index}]") for index, item in enumerate(value)]

    def done(self) -> None:
        """Refuse members that nobody took.

        Raises:
            InputError: there are some.
        """
        for name in self._left:
            raise InputError("Unknown field", field=self.name(name), mend="correct its spelling or remove it")

    def name(self, name: str) -> str:
        """Return the path of a member, for messages."""
        return f"{self._path}.{name}"
