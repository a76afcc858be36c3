"""Rego syntax trees, read from regorus (`get_ast_as_json`): modules, rules, calls and their lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import regorus

from mc_pipelines.decision.engine import trim_error
from mc_pipelines.foundation.errors import InputError

_AT = re.compile(r"--> (?P<file>.*?):(?P<line>\d+):(?P<column>\d+)")
Node = dict[str, Any]


class RegoSyntaxError(InputError):
    """A module that does not parse as Rego v1; ``extensions`` hold file and line."""

    slug, title = "rego-syntax", "Not Rego v1"


@dataclass(frozen=True)
class Module:
    """A Rego source file: its path within the pack, and its text."""

    path: str
    text: str


@dataclass(frozen=True)
class Rule:
    """A rule definition (one head with its bodies) of a module."""

    name: str
    line: int
    end_line: int
    kind: str
    """``default`` | ``set`` | ``function`` | ``complete``."""
    node: Node


@dataclass(frozen=True)
class ParsedModule:
    """A module with its syntax tree."""

    module: Module
    package: str
    package_line: int
    imports: dict[str, str]
    """Alias → dotted path."""
    rules: tuple[Rule, ...]


def parse(module: Module) -> ParsedModule:
    """Parse a module as Rego v1.

    Raises:
        RegoSyntaxError: it does not parse; the sentence begins with file:line.
    """
    native = regorus.Engine()
    try:
        native.add_policy(module.path, module.text)
    except RuntimeError as error:
        raise _syntax_error(error, module.path) from error
    ast = json.loads(native.get_ast_as_json())[0]["ast"]
    rules = tuple(_rule(node, module.text) for node in ast["rules"])
    return ParsedModule(
        module=module,
        package=dotted(ast["package"]["refr"]) or "",
        package_line=int(ast["package"]["span"]["line"]),
        imports=_imports(ast["imports"], module.text.encode()),
        rules=rules,
    )


def compile_modules(modules: Iterable[Module]) -> None:
    """Check what the parser alone does not see: unsafe variables, across all modules together.

    Raises:
        RegoSyntaxError: the modules do not compile.
    """
    native = regorus.Engine()
    try:
        for module in modules:
            native.add_policy(module.path, module.text)
        native.eval_query_as_json("1")
    except RuntimeError as error:
        raise _syntax_error(error, "the modules") from error


def _syntax_error(error: RuntimeError, path: str) -> RegoSyntaxError:
    found = _AT.search(str(error))
    file, line = (found["file"], int(found["line"])) if found else (path, 1)
    reason = trim_error(str(error).rsplit("error:", 1)[-1])
    return RegoSyntaxError(
        f"{file}:{line}: not Rego v1: {reason}",
        mend="write Rego v1 (`import rego.v1`); `opa fmt --rego-v1` rewrites older files",
        file=file,
        line=line,
        reason=reason,
    )


def _imports(nodes: Iterable[Node], source: bytes) -> dict[str, str]:
    imports: dict[str, str] = {}
    for node in nodes:
        path = dotted(node["refr"]) or ""
        alias = node.get("as")
        name = source[alias["start"] : alias["end"]].decode() if alias else path.rsplit(".", 1)[-1]
        if path != "rego.v1":
            imports[name] = path
    return imports


def _rule(node: Node, text: str) -> Rule:
    body = node.get("Default") or node["Spec"]
    if "Default" in node:
        kind, reference = "default", body["refr"]
    else:
        (label, head), *_ = body["head"].items()
        kind = {"Set": "set", "Func": "function"}.get(label, "complete")
        reference = head["refr"]
    line = int(body["span"]["line"])
    end_line = line + text.encode()[body["span"]["start"] : body["span"]["end"]].count(b"\n")
    return Rule(head_name(reference), line, end_line, kind, body)


def head_name(reference: Node) -> str:
    """Return the constant beginning of a rule head: ``deny`` of ``deny[x]``, ``a.b`` of ``a.b[c]``."""
    if "Var" in reference:
        return str(reference["Var"]["value"])
    if "RefDot" in reference:
        inner = reference["RefDot"]
        return f"{head_name(inner['refr'])}.{inner['field'][1]}" if dotted(inner["refr"]) else head_name(inner["refr"])
    return head_name(reference["RefBrack"]["refr"])


def dotted(reference: Node) -> str | None:
    """Return ``a.b.c`` of a reference made of names and constant strings only, else None."""
    if "Var" in reference:
        return str(reference["Var"]["value"])
    if "RefDot" in reference:
        before = dotted(reference["RefDot"]["refr"])
        return None if before is None else f"{before}.{reference['RefDot']['field'][1]}"
    if "RefBrack" in reference:
        before, index = dotted(reference["RefBrack"]["refr"]), reference["RefBrack"]["index"]
        return f"{before}.{index['String']['value']}" if before is not None and "String" in index else None
    return None


def root_of(reference: Node) -> str | None:
    """Return the variable that a reference begins with: ``input`` of ``input.a[_].b``."""
    for kind in ("RefDot", "RefBrack"):
        if kind in reference:
            return root_of(reference[kind]["refr"])
    return str(reference["Var"]["value"]) if "Var" in reference else None


def walk(node: Any) -> Iterator[tuple[str, Node]]:
    """Yield (kind, node) of every tagged node below and including ``node``, in source order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key[:1].isupper() and isinstance(value, dict):
                yield key, value
            yield from walk(value)
    elif isinstance(node, list):
        for item in node:
            yield from walk(item)


def modifiers(node: Any) -> Iterator[Node]:
    """Yield every `with` modifier below ``node``."""
    if isinstance(node, dict):
        yield from node.get("with_mods") or ()
        for value in node.values():
            yield from modifiers(value)
    elif isinstance(node, list):
        for item in node:
            yield from modifiers(item)


@dataclass(frozen=True)
class Call:
    """A function call: its name as written, its arguments, its line."""

    name: str
    arguments: tuple[Node, ...]
    line: int


def calls(node: Any) -> Iterator[Call]:
    """Yield every call below ``node``."""
    for kind, body in walk(node):
        if kind == "Call":
            yield Call(dotted(body["fcn"]) or "?", tuple(body["params"]), int(body["span"]["line"]))


def builtin_calls(modules: Iterable[ParsedModule]) -> Iterator[tuple[ParsedModule, Rule, Call]]:
    """Yield the calls that are of no rule, import or ``data`` path: calls of builtins, known or not."""
    parsed = tuple(modules)
    own: dict[str, set[str]] = {}
    for module in parsed:
        own.setdefault(module.package, set()).update(rule.name for rule in module.rules if rule.kind == "function")
    for module in parsed:
        for rule in module.rules:
            for call in calls(rule.node):
                first = call.name.split(".", 1)[0]
                if first != "data" and first not in module.imports and call.name not in own[module.package]:
                    yield module, rule, call
