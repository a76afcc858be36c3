"""The manifest: what to run, for whom, with what, and what must hold around it.

A manifest is content: its name is the sha256 of its canonical JSON (RFC 8785), so the same manifest has the same
name on every machine. Unknown fields, floats, naive times and malformed digests are refused with the field's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from mc_pipelines.foundation.canonical import canonical_json, parse_json, sha256_digest
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.money import Money, minor_unit_exponent

MAX_MANIFEST_BYTES = 256 << 10
_DIGEST = r"^sha256:[0-9a-f]{64}$"
_NAME = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MAX_ARGUMENT_BYTES = (128 << 10) - 1
"""Linux takes no longer argument, and no longer NAME=value: MAX_ARG_STRLEN in execve(2)."""
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}){0,7}")
_MEND = "docs/reference/manifest.md shows every field"


def _without_zero_byte(text: str) -> str:
    if "\0" in text:
        raise ValueError("a zero byte is no part of a text")
    return text


_Text = Annotated[str, AfterValidator(_without_zero_byte)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Image(_Part):
    """A container image, by digest; a tag is not a name of content."""

    name: _Text = Field(min_length=1, max_length=255)
    digest: str = Field(pattern=_DIGEST)


class InputFile(_Part):
    """A file that the command reads in its working folder."""

    path: str
    digest: str = Field(pattern=_DIGEST)

    @field_validator("path")
    @classmethod
    def _relative(cls, path: str) -> str:
        if not _FILE.fullmatch(path):
            raise ValueError("a relative path of plain names")
        return path


class Resources(_Part):
    """What is allocated, and the bounds that end a run."""

    cpu_millis: int = Field(1000, ge=1, le=1_024_000)
    memory_mib: int = Field(512, ge=16, le=4_194_304)
    wall_seconds: int = Field(60, ge=1, le=7 * 86_400)
    processes: int = Field(64, ge=1, le=32_768)


class Needs(_Part):
    """What must be enforced around the command; placement denies where it cannot be."""

    read_only_root: bool = True
    egress: Literal["none", "open", "ip", "fqdn"] = "none"


class Budget(_Part):
    """The most that the execution may be expected to cost."""

    currency: str  # before the amount, whose check reads it
    amount: str = Field(pattern=r"^[0-9]{1,15}(\.[0-9]{1,3})?$")

    @field_validator("amount", mode="before")
    @classmethod
    def _text(cls, amount: object) -> object:
        if isinstance(amount, int | float | Decimal):
            raise ValueError("money is never a float: write a decimal string such as 12.40")  # noqa: TRY004 - pydantic
        return amount

    @field_validator("amount")
    @classmethod
    def _whole(cls, amount: str, info: ValidationInfo) -> str:
        currency = info.data.get("currency")  # absent where it was refused itself
        if currency is not None and Money.of(amount, currency).amount != Decimal(amount):
            places = minor_unit_exponent(currency)
            raise ValueError(f"{currency} has {places} decimal places: write {Money.of(amount, currency).amount}")
        return amount

    @field_validator("currency")
    @classmethod
    def _known(cls, currency: str) -> str:
        try:
            minor_unit_exponent(currency)
        except InputError as error:
            raise ValueError(error.detail) from error
        return currency


class Manifest(_Part):
    """One execution as its publisher asks for it."""

    schema_version: Literal["maestro/manifest/v1"] = "maestro/manifest/v1"
    tenant: str = Field(pattern=_NAME)
    workflow: str = Field(pattern=_NAME)
    service: str = Field("executions", pattern=_NAME)
    argv: tuple[str, ...] = Field(min_length=1, max_length=1024)
    environment: dict[str, str] = Field(default_factory=dict, max_length=256)
    image: Image | None = None
    inputs: tuple[InputFile, ...] = Field((), max_length=1024)
    resources: Resources = Field(default_factory=Resources)
    needs: Needs = Field(default_factory=Needs)
    data_class: Literal["public", "internal", "confidential", "restricted"] | None = None
    residency: tuple[_Text, ...] | None = Field(None, min_length=1, max_length=64)
    deadline: AwareDatetime | None = None
    budget: Budget | None = None
    idempotent: bool = False
    idempotency_key: _Text | None = Field(None, min_length=1, max_length=200)

    @field_validator("argv")
    @classmethod
    def _arguments(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        if not argv[0] or any("\0" in argument for argument in argv):
            raise ValueError("a command first, and no argument with a zero byte")
        if any(_too_long(argument) for argument in argv):
            raise ValueError(f"no argument beyond {_MAX_ARGUMENT_BYTES:,} bytes: give it as an input file")
        return argv

    @field_validator("environment")
    @classmethod
    def _variables(cls, environment: dict[str, str]) -> dict[str, str]:
        for name, value in environment.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise ValueError(f"{name!r} is no variable")
            if _too_long(f"{name}={value}"):
                raise ValueError(f"no variable beyond {_MAX_ARGUMENT_BYTES:,} bytes: give it as an input file")
        return environment

    @field_validator("inputs")
    @classmethod
    def _apart(cls, inputs: tuple[InputFile, ...]) -> tuple[InputFile, ...]:
        paths = {file.path for file in inputs}
        if len(paths) < len(inputs):
            raise ValueError("each path once")
        for path in paths:
            folder = path.rpartition("/")[0]
            while folder:
                if folder in paths:
                    raise ValueError(f"{folder} cannot be a file and the folder of {path}")
                folder = folder.rpartition("/")[0]
        return inputs

    @field_validator("deadline")
    @classmethod
    def _within_years(cls, deadline: datetime | None) -> datetime | None:
        try:
            return None if deadline is None else deadline.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("no such moment in UTC: years 1 to 9999") from error

    @field_serializer("deadline")
    def _utc(self, deadline: datetime | None) -> str | None:
        return None if deadline is None else rfc3339(deadline.astimezone(UTC))

    def document(self) -> dict[str, Any]:
        """Return the manifest as JSON members; what was left out is left out."""
        return self.model_dump(mode="json", exclude_none=True)

    @cached_property
    def digest(self) -> Digest:
        """The name of the manifest: sha256 of its canonical JSON."""
        return sha256_digest(canonical_json(self.document()))


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest from JSON.

    Raises:
        InputError: names the field, the value and the mend.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise InputError("The manifest is too large", field="manifest", value=len(content), mend="256 KiB at most")
    return manifest_of(parse_json(content, what="manifest"))


def manifest_of(document: Any) -> Manifest:
    """Read a manifest from parsed JSON.

    Raises:
        InputError: names the field, the value and the mend.
    """
    if not isinstance(document, dict):
        raise InputError("A manifest is a JSON object", field="manifest", mend=_MEND)
    deadline = document.get("deadline")
    if isinstance(deadline, str) and not _MOMENT.match(deadline):  # pydantic takes a count of seconds in text, too
        sentence = "A deadline is a datetime as RFC 3339 writes it, such as 2026-12-01T08:00:00+01:00"
        raise InputError(sentence, field="deadline", value=deadline, mend=_MEND)
    try:
        # Through JSON mode, in which lists become tuples and text becomes times, and nothing else is coerced.
        return Manifest.model_validate_json(_plain_json(document))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "manifest"
        value = first.get("input")
        shown = value if isinstance(value, str | int | bool) else None
        raise InputError(_sentence(first["type"], first["msg"]), field=field, value=shown, mend=_MEND) from error


def without_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest's JSON as it may be shown: of the environment only the names, for its values are secrets."""
    shown = dict(document)
    if "environment" in shown:
        shown["environment"] = sorted(shown["environment"])
    return shown


def example_manifest(tenant: str) -> Manifest:
    """Return a manifest that works on any machine: what `mc publish --example` prints.

    Raises:
        InputError: ``tenant`` is no name.
    """
    return manifest_of(
        {
            "tenant": tenant,
            "workflow": "hello",
            "argv": ["sh", "-c", 'echo "hello, $GREETED" && id -u'],
            "environment": {"GREETED": "world"},
            "resources": {"cpu_millis": 500, "memory_mib": 256, "wall_seconds": 30},
            "needs": {"read_only_root": True, "egress": "none"},
        }
    )


def _too_long(text: str) -> bool:
    return len(text.encode(errors="surrogatepass")) > _MAX_ARGUMENT_BYTES


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "Not a field of a manifest"
    if kind == "missing":
        return "The manifest lacks a field"
    if kind == "timezone_aware":
        return "A time without a zone is ambiguous: write an offset"
    sentence = message.removeprefix("Value error, ")
    return sentence[:1].upper() + sentence[1:]


def _plain_json(document: dict[str, Any]) -> bytes:
    import json

    def fraction(value: object) -> object:
        if isinstance(value, Decimal):
            return float(value)  # only to be refused by the model, which takes no fraction anywhere
        raise TypeError(type(value).__name__)

    return json.dumps(document, default=fraction).encode()
