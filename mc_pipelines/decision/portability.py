"""Refuses modules on which regorus and OPA could answer differently, by name and line.

All checks run over the syntax tree before anything is evaluated: a builtin that an engine does not know
fails only when it is reached, in a dead branch never.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mc_pipelines.decision.builtins import why_refused
from mc_pipelines.decision.syntax import Call, Node, ParsedModule, Rule, builtin_calls, dotted, modifiers, root_of

_PATTERN_ARGUMENT = {"regex.match": 0, "regex.find_n": 0, "regex.replace": 1, "glob.match": 0}
_CLASS_THAT_DIFFERS = re.compile(r"(?<!\\)(?:\\\\)*(\\[dDwWsSbBpP]|\(\?[a-z]*i)")
_VERB = re.compile(r"%(?:%|([^%]))")
_VERBS = frozenset("vds")


@dataclass(frozen=True)
class Refusal:
    """One reason why a module is not taken."""

    file: str
    line: int
    name: str
    """The builtin or construct."""
    why: str

    def __str__(self) -> str:
        """Read as ``file:line: name why``."""
        return f"{self.file}:{self.line}: {self.name} {self.why}"


def refusals(modules: Iterable[ParsedModule]) -> list[Refusal]:
    """Return every reason to refuse the modules, in order of file and line."""
    parsed = tuple(modules)
    found = [_of_call(module, call) for module, _, call in builtin_calls(parsed)]
    listed = [refusal for refusal in found if refusal is not None]
    for module in parsed:
        listed += _of_imports(module)
        listed += [refusal for rule in module.rules for refusal in _of_rule(module, rule)]
    return sorted(set(listed), key=lambda refusal: (refusal.file, refusal.line, refusal.name))


def _of_imports(module: ParsedModule) -> Iterator[Refusal]:
    for alias, path in module.imports.items():
        if path == f"data.{module.package}":
            why = "imports the module's own package, which regorus calls a cycle; name its rules without it"
            yield Refusal(module.module.path, module.package_line, alias, why)


def _of_call(module: ParsedModule, call: Call) -> Refusal | None:
    why = why_refused(call.name)
    if why is None and call.name in _PATTERN_ARGUMENT:
        why = _of_pattern(call)
    if why is None and call.name == "sprintf":
        why = _of_format(call)
    return None if why is None else Refusal(module.module.path, call.line, call.name, why)


def _of_pattern(call: Call) -> str | None:
    position = _PATTERN_ARGUMENT[call.name]
    pattern = constant_string(call.arguments[position]) if len(call.arguments) > position else None
    if pattern is None:
        return "takes a pattern that is no constant, so it cannot be checked that both engines read it alike"
    if call.name == "glob.match":
        return "uses ?, which is one byte in regorus and one character in OPA" if "?" in pattern else None
    differs = _CLASS_THAT_DIFFERS.search(pattern)
    if differs is not None:
        return f"uses {differs[1]}, which is ASCII in OPA and Unicode in regorus; write the class out, such as [0-9]"
    return None


def _of_format(call: Call) -> str | None:
    template = constant_string(call.arguments[0]) if call.arguments else None
    if template is None:
        return "takes a format that is no constant, so its verbs cannot be checked"
    verbs = [match[1] for match in _VERB.finditer(template) if match[1] is not None]
    foreign = sorted(set(verbs) - _VERBS)
    if foreign:
        return f"uses %{foreign[0]}; only %v, %d and %s are read alike by both engines"
    values = call.arguments[1] if len(call.arguments) > 1 else {}
    if "Array" in values and len(values["Array"]["items"]) != len(verbs):
        return f"has {len(verbs)} verbs and {len(values['Array']['items'])} values"
    return None


def _of_rule(module: ParsedModule, rule: Rule) -> Iterator[Refusal]:
    head = rule.node.get("head", {})
    if rule.kind == "set" and _has_variable_segment(head["Set"]["refr"]):
        why = "is a set below a variable key: regorus loses elements of it that a second rule adds"
        yield Refusal(module.module.path, rule.line, rule.name, why)
    for modifier in modifiers(rule.node):
        yield from _of_modifier(module, modifier)


def _of_modifier(module: ParsedModule, modifier: Node) -> Iterator[Refusal]:
    target = modifier["refr"]
    if root_of(target) not in {"input", "data"}:
        line = int(modifier["span"]["line"])
        why = "is replaced by `with`: the engines differ on mocked functions"
        yield Refusal(module.module.path, line, dotted(target) or "?", why)


def _has_variable_segment(reference: Node) -> bool:
    for kind in ("RefDot", "RefBrack"):
        if kind in reference:
            index = reference[kind].get("index")
            constant = index is None or "String" in index
            return not constant or _has_variable_segment(reference[kind]["refr"])
    return False


def constant_string(node: Node) -> str | None:
    """Return the value of a string literal, else None."""
    for kind in ("String", "RawString"):
        if kind in node:
            return str(node[kind]["value"])
    return None
