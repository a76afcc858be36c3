"""The guard's checks over syntax trees and data; each yields (code, file, line, message)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mc_pipelines.decision.portability import constant_string
from mc_pipelines.decision.syntax import Node, ParsedModule, Rule, calls, root_of, walk

Found = tuple[str, str, int, str]

DENIES = re.compile(r"(deny|denied|violation|warn)(_.*)?$")
"""Names of rules that refuse: undefined there means "not refused"."""
ALLOWS = re.compile(r"(allow|allowed|permit|permitted|authorized)(_.*)?$")
"""Names of rules that grant: undefined there means "not granted"."""
_WILDCARDS = frozenset({"*", "**", "0.0.0.0/0", "::/0"})
_EMPTY_MATCHES = frozenset({"startswith", "endswith", "contains"})
_ERRING = frozenset(
    {
        "to_number",
        "units.parse",
        "units.parse_bytes",
        "json.unmarshal",
        "yaml.unmarshal",
        "base64.decode",
        "base64url.decode",
        "hex.decode",
        "time.parse_rfc3339_ns",
        "time.parse_ns",
        "time.parse_duration_ns",
    }
)
_CONSTANTS = frozenset({"Bool", "Number", "String", "RawString", "Null"})


def rule_findings(modules: Iterable[ParsedModule]) -> Iterator[Found]:
    """Yield the findings over all rules of a pack's modules."""
    for module in modules:
        refusing = _reached_from_denials(module)
        checks: tuple[Callable[[str, Rule], Iterator[Found]], ...] = (_constant_allow, _wildcards, _unbounded)
        for rule in module.rules:
            for check in checks:
                yield from check(module.module.path, rule)
            yield from _negations(module.module.path, rule)
            if rule.name in refusing:
                yield from _erring(module.module.path, rule)
        yield from _partial_decisions(module)
        yield from _conflicts(module)


def data_findings(path: str, data: dict[str, Any]) -> Iterator[Found]:
    """Yield the wildcards in a pack's data."""
    for pointer, value in _strings(data, ""):
        if value in _WILDCARDS:
            yield "MC002", path, 1, f"{value!r} at {pointer} stands for everything: name what is meant"


def _constant_allow(path: str, rule: Rule) -> Iterator[Found]:
    if not ALLOWS.match(rule.name):
        return
    if rule.kind == "default":
        if rule.node["value"].get("Bool", {}).get("value") is True:
            yield "MC001", path, rule.line, f"default {rule.name} is true: what no rule refuses is allowed"
        return
    if rule.kind not in {"complete", "function"}:
        return
    statements = [statement for body in rule.node["bodies"] for statement in body["query"]["stmts"]]
    if _granted_value(rule) and all(_constant_true(statement["literal"]) for statement in statements):
        yield "MC001", path, rule.line, f"{rule.name} is true without a condition"


def _granted_value(rule: Rule) -> bool:
    head = next(iter(rule.node["head"].values()))
    assign = head.get("assign")
    return assign is None or assign["value"].get("Bool", {}).get("value") is True


def _constant_true(literal: Node) -> bool:
    if "Expr" not in literal:
        return False
    expression = literal["Expr"]["expr"]
    if "BoolExpr" in expression:
        comparison = expression["BoolExpr"]
        left, right = _plain(comparison["lhs"]), _plain(comparison["rhs"])
        return comparison["op"] == "Eq" and left == right and next(iter(left)) in _CONSTANTS
    return next(iter(expression)) in _CONSTANTS and expression.get("Bool", {}).get("value") is not False


def _wildcards(path: str, rule: Rule) -> Iterator[Found]:
    if DENIES.match(rule.name):
        return
    for kind, node in walk(rule.node):
        if kind in {"String", "RawString"} and node["value"] in _WILDCARDS:
            line = int(node["span"]["line"])
            yield "MC002", path, line, f"{node['value']!r} stands for everything: name what is meant"
    for call in calls(rule.node):
        pattern = constant_string(call.arguments[0]) if call.arguments else None
        if call.name in _EMPTY_MATCHES and len(call.arguments) > 1 and constant_string(call.arguments[1]) == "":
            yield "MC002", path, call.line, f'{call.name}(…, "") is true of every string'
        if call.name == "regex.match" and pattern is not None and not _anchored(pattern):
            yield "MC002", path, call.line, f"pattern {pattern!r} is not anchored with ^ and $"


def _anchored(pattern: str) -> bool:
    return pattern.startswith("^") and pattern.endswith("$") and "|" not in re.sub(r"\(.*\)", "", pattern)


def _unbounded(path: str, rule: Rule) -> Iterator[Found]:
    for call in calls(rule.node):
        if call.name == "walk" and call.arguments and root_of(call.arguments[0]) == "input":
            yield "MC007", path, call.line, "walk over input does as much work as a caller likes"
        if call.name.startswith("numbers.range") and any("Number" not in argument for argument in call.arguments):
            yield "MC007", path, call.line, f"{call.name} over values that are no constants has no bound"


def _negations(path: str, rule: Rule) -> Iterator[Found]:
    if DENIES.match(rule.name):
        return  # undefined there makes the rule refuse, which is safe
    for kind, node in walk(rule.node):
        if kind == "NotExpr" and _reads_outside(node["expr"]):
            line = int(node["span"]["line"])
            message = "`not` over input or data is true when the member is absent; use object.get with a default"
            yield "MC006", path, line, message


def _reads_outside(expression: Node) -> bool:
    safe = {id(argument) for call in _object_gets(expression) for argument in call}
    return any(
        kind in {"RefDot", "RefBrack"} and root_of({kind: node}) in {"input", "data"} and id(node) not in safe
        for kind, node in walk(expression)
    )


def _object_gets(expression: Node) -> Iterator[list[Node]]:
    for kind, node in walk(expression):
        if kind == "Call":
            names = [call.name for call in calls({"Call": node})][:1]
            if names == ["object.get"]:
                yield [inner for parameter in node["params"] for _, inner in walk(parameter)]


def _erring(path: str, rule: Rule) -> Iterator[Found]:
    for call in calls(rule.node):
        if call.name in _ERRING:
            message = f"{call.name} can err behind a deny rule; a lax engine then does not deny. Check its input first"
            yield "MC009", path, call.line, message


def _reached_from_denials(module: ParsedModule) -> set[str]:
    uses: dict[str, set[str]] = defaultdict(set)
    names = {rule.name for rule in module.rules}
    for rule in module.rules:
        uses[rule.name] |= {str(node["value"]) for kind, node in walk(rule.node) if kind == "Var"} & names
    reached, open_names = set(), [name for name in names if DENIES.match(name)]
    while open_names:
        name = open_names.pop()
        if name not in reached:
            reached.add(name)
            open_names += uses[name]
    return reached


def _partial_decisions(module: ParsedModule) -> Iterator[Found]:
    defaults = {rule.name for rule in module.rules if rule.kind == "default"}
    seen: set[str] = set()
    for rule in module.rules:
        if ALLOWS.match(rule.name) and rule.kind == "complete" and rule.name not in defaults | seen:
            seen.add(rule.name)
            message = (
                f"{rule.name} has no default, so it is undefined for some input; add `default {rule.name} := false`"
            )
            yield "MC012", module.module.path, rule.line, message


def _conflicts(module: ParsedModule) -> Iterator[Found]:
    values: dict[str, dict[str, int]] = defaultdict(dict)
    for rule in module.rules:
        if rule.kind != "complete" or "Var" not in rule.node["head"]["Compr"]["refr"]:
            continue
        assign = rule.node["head"]["Compr"]["assign"]
        value = "true" if assign is None else json.dumps(_plain(assign["value"]), sort_keys=True)
        values[rule.name].setdefault(value, rule.line)
    for name, found in values.items():
        if len(found) > 1:
            message = f"{name} is defined with {len(found)} different values, which can conflict; write one else chain"
            yield "MC013", module.module.path, max(found.values()), message


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items() if key not in {"span", "eidx", "sidx", "qidx"}}
    return [_plain(item) for item in node] if isinstance(node, list) else node


def _strings(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _strings(member, f"{pointer}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{pointer}/{index}")
    elif isinstance(value, str):
        yield pointer, value
