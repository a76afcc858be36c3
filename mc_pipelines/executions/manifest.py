"""The manifest: what a tenant publishes to have something run; named by the digest of its canonical JSON."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from mc_pipelines.foundation.canonical import digest_of, parse_json
from mc_pipelines.foundation.clock import as_utc, parse_utc, rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, parse_digest, parse_name
from mc_pipelines.foundation.money import Money

API_VERSION = "maestro-conductor.example/v1"
_SHOW = "`mc publish --example` prints a manifest that works"
_MAXIMUM_BYTES = 1 << 20


def _name(value: str) -> str:
    return parse_name(value, field="name")


def _digest(value: str) -> str:
    return parse_digest(value, field="digest")


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return as_utc(value, field="deadline")
    return parse_utc(str(value), field="deadline")


def _relative(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or value in {"", "."}:
        raise InputError("A path leaves the working folder", field="path", value=value)
    return value


def _number(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else value


Name = Annotated[str, AfterValidator(_name)]
DigestText = Annotated[str, AfterValidator(_digest)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
FeatureValue = Annotated[float | str, BeforeValidator(_number)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel, populate_by_name=True)


class Input(_Part):
    """Something that the command reads, by digest; small text may be carried in the manifest itself."""

    path: Annotated[str, AfterValidator(_relative)]
    digest: DigestText
    text: str | None = None


class Image(_Part):
    """A container image, by digest; the local driver runs the command without one."""

    name: str
    digest: DigestText


class Resources(_Part):
    """What one attempt may use."""

    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    memory_bytes: Annotated[int, Field(ge=1 << 24, le=1 << 44)] = 1 << 30
    wall_seconds: Annotated[int, Field(ge=1, le=86_400 * 7)] = 300


class Needs(_Part):
    """Protections that must hold, or the execution does not start."""

    read_only_root: bool = True
    egress: Literal["none", "open", "ip", "fqdn"] = "none"


class Budget(_Part):
    """The most the tenant wants to spend on it."""

    amount: str
    currency: str

    @property
    def money(self) -> Money:
        """The budget as money."""
        return Money.of(self.amount, self.currency)


class Manifest(_Part):
    """One execution as published."""

    api_version: Literal["maestro-conductor.example/v1"]
    kind: Literal["Execution"]
    tenant: Name
    workflow: str = Field(min_length=1, max_length=200)
    service: Name = "workflows"
    command: tuple[str, ...] = Field(min_length=1, max_length=1000)
    environment: dict[str, str] = Field(default_factory=dict)
    image: Image | None = None
    inputs: tuple[Input, ...] = ()
    resources: Resources = Resources()
    needs: Needs = Needs()
    residency: tuple[str, ...] | None = None
    data_class: Literal["public", "internal", "confidential", "restricted"] = "internal"
    deadline: Moment | None = None
    budget: Budget | None = None
    features: dict[str, FeatureValue] = Field(default_factory=dict)
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)
    idempotent: bool = False

    def document(self) -> dict[str, Any]:
        """Return the manifest as JSON values, with every default written out."""
        found = self.model_dump(by_alias=True, exclude_none=True, mode="python")
        if self.deadline is not None:
            found["deadline"] = rfc3339(self.deadline)
        return found

    @property
    def digest(self) -> Digest:
        """The digest that names this manifest."""
        return digest_of(self.document())


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest from JSON.

    Args:
        content: UTF-8 JSON; a file written by people may be YAML, which the command line turns into JSON.

    Raises:
        InputError: it is no such manifest; names the first field, its value and the mend.
    """
    if len(content) > _MAXIMUM_BYTES:
        raise InputError(f"A manifest is larger than {_MAXIMUM_BYTES} bytes", field="manifest", value=len(content))
    return manifest_of(parse_json(content, what="manifest"))


def manifest_of(document: Any) -> Manifest:
    """Check a parsed manifest; see :func:`parse_manifest`."""
    try:
        manifest = Manifest.model_validate(_tuples(document))
    except ValidationError as error:
        raise _first_fault(error) from error
    if manifest.budget is not None:
        _ = manifest.budget.money
    for each in manifest.inputs:
        _check_text(each)
    return manifest


EXAMPLE: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "Execution",
    "tenant": "acme",
    "workflow": "reports/hello",
    "command": ["sh", "-c", "echo hello from $(uname -s)"],
    "resources": {"cpus": 1, "memoryBytes": 268435456, "wallSeconds": 30},
    "needs": {"readOnlyRoot": True, "egress": "none"},
    "dataClass": "internal",
    "features": {"rows": 1000},
    "idempotencyKey": "hello-1",
}


def _tuples(document: Any) -> Any:
    """Turn JSON's lists into tuples, which strict validation asks for."""
    if isinstance(document, list):
        return tuple(_tuples(each) for each in document)
    if isinstance(document, dict):
        return {key: _tuples(value) for key, value in document.items()}
    return document


def _check_text(given: Input) -> None:
    if given.text is None:
        return
    from mc_pipelines.foundation.canonical import sha256_digest

    found = sha256_digest(given.text.encode())
    if found != given.digest:
        raise InputError(
            f"The digest is not that of the text, which is {found}",
            field=f"inputs[{given.path}].digest",
            value=given.digest,
            mend="write the digest of the text as it stands",
        )


def _first_fault(error: ValidationError) -> InputError:
    fault = error.errors()[0]
    cause = fault.get("ctx", {}).get("error")
    path = ".".join(str(part) for part in fault["loc"]) or "manifest"
    if fault["type"] == "extra_forbidden":
        return InputError("A manifest has no such field", field=path, value=fault["input"], mend=_SHOW)
    if fault["type"] == "missing":
        return InputError("A manifest needs this field", field=path, mend=_SHOW)
    value = fault["input"]
    if isinstance(value, float | Decimal) and path.startswith("budget"):
        return InputError(
            "Money is never a float", field=path, value=str(value), mend='write it as text, such as "12.40"'
        )
    detail = cause.detail if isinstance(cause, InputError) else fault["msg"]
    mend = cause.mend if isinstance(cause, InputError) and cause.mend else _SHOW
    return InputError(detail, field=path, value=value, mend=mend)
