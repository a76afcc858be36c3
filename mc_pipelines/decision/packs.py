"""Loading a pack: a folder of Rego v1 modules with their tests, data and metadata.

Layout of ``policy/<name>/``: ``*.rego`` in package ``<name>`` or below it, ``*_test.rego``, and
``data.json``, whose content is ``data.<name>``. The whole of ``policy/`` is thereby a folder that OPA
itself loads (``opa test policy/``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mc_pipelines.decision.annotations import annotations_of
from mc_pipelines.decision.portability import refusals
from mc_pipelines.decision.syntax import Module, ParsedModule, compile_modules, parse
from mc_pipelines.foundation.canonical import digest_of, parse_json, sha256_digest
from mc_pipelines.foundation.errors import InputError, NotFoundError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.settings import load_settings

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MAX_NESTING = 64
"""Brackets within brackets: the parsers take time and stack that grow with them, and cannot be stopped."""
_LARGEST_FILE = 1_000_000
"""Bytes; a module or a data file beyond it is refused."""


@dataclass(frozen=True)
class Pack:
    """A pack as it decides.

    Attributes:
        name: its folder, and the first segment of its packages.
        revision: sha256 over the canonical list of its files' digests; tests do not count.
        modules: what decides.
        tests: the `*_test.rego` modules.
        data: the content of data.json, found at ``data.<name>``.
        metadata: the annotation of package ``<name>``.
    """

    name: str
    revision: Digest
    modules: tuple[Module, ...]
    tests: tuple[Module, ...]
    data: dict[str, Any]
    metadata: dict[str, Any]


class PackRefusedError(InputError):
    """A pack that parses but may not be loaded; ``extensions['refusals']`` lists every reason."""

    slug, title = "pack-refused", "Policy pack refused"


def policy_root(configured: Path | None = None) -> Path:
    """Return the folder of packs: as configured, else the repository's ``policy/``, else the packaged one.

    Raises:
        NotFoundError: there is none.
    """
    package = Path(str(files("mc_pipelines")))
    candidates = [configured] if configured is not None else [package.parent / "policy", package / "_policy"]
    for folder in candidates:
        if folder.is_dir() and (configured is not None or any(folder.glob("*/*.rego"))):
            return folder.resolve()
    raise NotFoundError("No folder of policy packs", field="MC_POLICY_DIR", value=str(candidates[0]), mend="set it")


def list_packs(root: Path | None = None) -> tuple[str, ...]:
    """Return the names of all packs below the folder of packs."""
    folder = root or policy_root(load_settings().policy_dir)
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.rglob("*.rego"))))


def load_pack(name: str, *, root: Path | None = None) -> Pack:
    """Load a pack by name.

    Args:
        name: its folder's name.
        root: the folder of packs; default: MC_POLICY_DIR, the repository's, or the packaged one.

    Raises:
        NotFoundError: there is no such pack.
        RegoSyntaxError: a module is not Rego v1, or a variable in it is unsafe.
        PackRefusedError: it calls a builtin, or uses a construct, on which the two engines do not agree.
        InputError: a file is malformed.
    """
    folder = (root or policy_root(load_settings().policy_dir)) / name
    if not _NAME.fullmatch(name) or not folder.is_dir():
        raise NotFoundError("No such policy pack", field="pack", value=name, mend="`mc policy ls` lists them")
    return read_pack(folder)


def read_pack(folder: Path) -> Pack:
    """Load the pack in a folder; see :func:`load_pack`."""
    name = folder.resolve().name
    modules, tests = read_modules(folder, prefix=name)
    if not modules:
        raise InputError("A folder without a Rego module is no pack", field="pack", value=name)
    return _pack(name, modules, tests, read_data(folder / "data.json"))


def read_pack_files(name: str, files: Mapping[str, bytes]) -> Pack:
    """Load a pack from its files' contents by path, as a bundle holds them; see :func:`load_pack`."""
    texts = {path: _decoded(content, path) for path, content in files.items()}
    data = texts.pop(f"{name}/data.json", "{}")
    if not _NAME.fullmatch(name) or not texts or not all(re.fullmatch(rf"{name}/.+\.rego", path) for path in texts):
        raise InputError("Not the files of a pack", field="pack", value=name)
    return _pack(name, tuple(Module(path, texts[path]) for path in sorted(texts)), (), _object(data))


def _pack(name: str, modules: tuple[Module, ...], tests: tuple[Module, ...], data: dict[str, Any]) -> Pack:
    parsed = [parse(module) for module in modules]
    refuse_unportable(parsed, name)
    compile_modules(modules)
    revision = revision_of(modules, name, data)
    return Pack(name, revision, modules, tests, data, _package_metadata(parsed, name))


def read_modules(folder: Path, *, prefix: str = "") -> tuple[tuple[Module, ...], tuple[Module, ...]]:
    """Read all `.rego` files below a folder, as (modules, tests), sorted by path.

    Raises:
        InputError: a file is too large or not UTF-8.
    """
    modules: list[Module] = []
    tests: list[Module] = []
    for path in sorted(folder.rglob("*.rego")):
        relative = path.relative_to(folder).as_posix()
        module = Module(f"{prefix}/{relative}" if prefix else relative, _read(path))
        (tests if path.stem.endswith("_test") else modules).append(module)
    return tuple(modules), tuple(tests)


def read_data(path: Path) -> dict[str, Any]:
    """Read data.json; an absent file is an empty object.

    Raises:
        InputError: it is no JSON object, or has a duplicate key.
    """
    if not path.exists():
        return {}
    return _object(_read(path))


def _object(text: str) -> dict[str, Any]:
    if not isinstance(parse_json(text, what="data.json"), dict):
        raise InputError("data.json holds no object", field="data", mend="write one JSON object")
    found: dict[str, Any] = json.loads(text)
    return found


def revision_of(modules: tuple[Module, ...], name: str, data: dict[str, Any]) -> Digest:
    """Return the digest that names exactly these modules and this data."""
    named = {module.path: sha256_digest(module.text.encode()) for module in modules}
    return digest_of(named | {f"{name}/data.json": digest_of(data)})


def refuse_unportable(modules: list[ParsedModule], name: str) -> None:
    """Refuse modules on which the two engines could differ.

    Raises:
        PackRefusedError: with the first reason as its sentence and all of them in ``refusals``.
    """
    found = refusals(modules)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PackRefusedError(
            f"{found[0]}{more}",
            field="pack",
            value=name,
            mend="use only builtins on which both engines agree (docs/policy/packs.md lists them)",
            refusals=[str(refusal) for refusal in found],
        )


def _package_metadata(modules: list[ParsedModule], name: str) -> dict[str, Any]:
    for module in modules:
        if module.package != name:
            continue
        for annotation in annotations_of(module.module.path, module.module.text):
            if annotation.scope in {"package", "subpackages"}:
                return annotation.document
    return {}


def _read(path: Path) -> str:
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"A policy file is larger than {_LARGEST_FILE} bytes", field="file", value=path.name)
    return _decoded(path.read_bytes(), path.name)


def _decoded(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("A policy file is not UTF-8", field="file", value=name) from error
    depth = 0
    for bracket in re.findall(r"[][(){}]", text):
        depth = depth + 1 if bracket in "[({" else max(0, depth - 1)
        if depth > _MAX_NESTING:
            raise InputError(
                f"A policy file nests its brackets deeper than {_MAX_NESTING}",
                field="file",
                value=name,
                mend="name parts",
            )
    return text


@cache
def loaded(name: str) -> Pack:
    """Return a pack of the configured folder, loaded once a process; a changed pack needs a new process."""
    return load_pack(name)
