"""The guard: static checks over a pack that block the patterns by which policy fails open.

Each finding has a code. MC001-MC013 are: constant allow, wildcard, no tests, no metadata, impure builtin,
`not` over what may be undefined, unbounded work, removed deny rule, erring builtin behind a deny rule, old
syntax, foreign root, partial decision, conflicting rules. MC000 is what the loader refuses as unportable.
The checks see syntax, not meaning: a pack that passes can still be wrong, which is what evidence is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mc_pipelines.decision.annotations import Annotation, annotations_of
from mc_pipelines.decision.builtins import IMPURE
from mc_pipelines.decision.packs import Pack, read_data, read_modules, read_pack
from mc_pipelines.decision.portability import refusals
from mc_pipelines.decision.rego_test import run_pack_tests
from mc_pipelines.decision.syntax import Module, ParsedModule, RegoSyntaxError, Rule, parse
from mc_pipelines.foundation.errors import InputError, MaestroError
from mc_pipelines.policy.guard_rules import ALLOWS, DENIES, data_findings, rule_findings

LEAST_COVERAGE = 0.9
"""Share of coverable lines that a pack's own tests must reach."""
_PACKAGE_MEMBERS = ("title", "description")
_CUSTOM_MEMBERS = ("owner", "severity")


@dataclass(frozen=True)
class Finding:
    """One thing that blocks a pack."""

    code: str
    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """Read as ``file:line: code message``."""
        return f"{self.file}:{self.line}: {self.code} {self.message}"


def check_folder(folder: Path) -> list[Finding]:
    """Check the pack in a folder; an empty list means it passes.

    Raises:
        InputError: the folder holds no Rego module, or a file cannot be read.
    """
    if not folder.is_dir():
        raise InputError("No such folder", field="path", value=str(folder))
    name = folder.resolve().name
    modules, tests = read_modules(folder, prefix=name)
    if not modules:
        raise InputError("The folder holds no Rego module", field="path", value=str(folder))
    parsed, found = _parse((*modules, *tests))
    deciding = [module for module in parsed if not _is_test(module.module)]
    for refusal in refusals(deciding):
        code = "MC005" if refusal.name in IMPURE else "MC000"
        found.append(Finding(code, refusal.file, refusal.line, f"{refusal.name} {refusal.why}"))
    found += [Finding(*finding) for finding in rule_findings(deciding)]
    found += [Finding(*finding) for finding in data_findings(f"{name}/data.json", read_data(folder / "data.json"))]
    for module in deciding:
        found += _roots(module, name)
        found += _metadata(module)
    if not any(finding.code in {"MC000", "MC005", "MC010"} for finding in found):
        found += _tested(folder, name)
    return sorted(set(found), key=lambda finding: (finding.file, finding.line, finding.code, finding.message))


def check_change(old: Pack, new: Pack) -> list[Finding]:
    """Compare two revisions: a deny rule that went, or an allow rule that came, must be declared (MC008)."""
    before, after = _named_rules(old), _named_rules(new)
    found = [
        Finding("MC008", f"{new.name}/", 1, f"deny rule {rule} of the old revision is gone")
        for rule in sorted(before.denies - after.denies)
    ]
    if after.deny_count < before.deny_count:
        message = f"there are {after.deny_count} deny rules, there were {before.deny_count}"
        found.append(Finding("MC008", f"{new.name}/", 1, message))
    if after.allow_count > before.allow_count:
        message = f"there are {after.allow_count} allow rules, there were {before.allow_count}"
        found.append(Finding("MC008", f"{new.name}/", 1, message))
    return found


@dataclass(frozen=True)
class _NamedRules:
    denies: frozenset[str]
    deny_count: int
    allow_count: int


def _named_rules(pack: Pack) -> _NamedRules:
    parsed = [parse(module) for module in pack.modules]
    names = {
        str(annotation.document["custom"]["rule"])
        for module in parsed
        for annotation in annotations_of(module.module.path, module.module.text)
        if isinstance(annotation.document.get("custom"), dict) and "rule" in annotation.document["custom"]
    }
    rules = [rule for module in parsed for rule in module.rules if rule.kind != "default"]
    denies = sum(1 for rule in rules if DENIES.match(rule.name))
    return _NamedRules(frozenset(names), denies, sum(1 for rule in rules if ALLOWS.match(rule.name)))


def _parse(modules: tuple[Module, ...]) -> tuple[list[ParsedModule], list[Finding]]:
    parsed, found = [], []
    for module in modules:
        try:
            parsed.append(parse(module))
        except RegoSyntaxError as error:
            message = f"not Rego v1: {error.extensions['reason']}"
            found.append(Finding("MC010", module.path, error.extensions["line"], message))
    return parsed, found


def _is_test(module: Module) -> bool:
    return module.path.endswith("_test.rego")


def _roots(module: ParsedModule, name: str) -> Iterator[Finding]:
    if module.package != name and not module.package.startswith(f"{name}."):
        message = f"package {module.package} lies outside the pack's root {name}"
        yield Finding("MC011", module.module.path, module.package_line, message)


def _metadata(module: ParsedModule) -> Iterator[Finding]:
    path = module.module.path
    try:
        annotations = annotations_of(path, module.module.text)
    except InputError as error:
        yield Finding("MC004", path, 1, error.detail)
        return
    by_line = {annotation.target_line: annotation for annotation in annotations}
    yield from _package_metadata(module, by_line.get(module.package_line))
    annotated: set[str] = set()
    for rule in module.rules:
        if DENIES.match(rule.name) or ALLOWS.match(rule.name):
            annotation = by_line.get(rule.line)
            if annotation is None and rule.name in annotated:
                continue
            annotated.add(rule.name)
            yield from _rule_metadata(path, rule, annotation)


def _package_metadata(module: ParsedModule, annotation: Annotation | None) -> Iterator[Finding]:
    path, line = module.module.path, module.package_line
    document = {} if annotation is None else annotation.document
    custom = document.get("custom")
    custom = custom if isinstance(custom, dict) else {}
    missing = [member for member in _PACKAGE_MEMBERS if not document.get(member)]
    missing += [f"custom.{member}" for member in _CUSTOM_MEMBERS if not custom.get(member)]
    if not document.get("authors") and not document.get("organizations"):
        missing.append("authors or organizations")
    if missing:
        yield Finding("MC004", path, line, f"package metadata lacks {', '.join(missing)}")


def _rule_metadata(path: str, rule: Rule, annotation: Annotation | None) -> Iterator[Finding]:
    document = {} if annotation is None else annotation.document
    missing = [member for member in _PACKAGE_MEMBERS if not document.get(member)]
    if missing:
        yield Finding("MC004", path, rule.line, f"metadata of rule {rule.name} lacks {', '.join(missing)}")


def _tested(folder: Path, name: str) -> Iterator[Finding]:
    try:
        pack = read_pack(folder)
        report = run_pack_tests(pack)
    except MaestroError as error:
        yield Finding("MC000", f"{name}/", 1, error.detail)
        return
    if not report.results:
        yield Finding("MC003", f"{name}/", 1, "the pack has no tests")
        return
    for result in report.results:
        if result.outcome != "pass":
            yield Finding(
                "MC003", result.file, result.line, f"{result.name}: {result.outcome} {result.message}".strip()
            )
    if report.coverage < LEAST_COVERAGE:
        path, lines = next(iter(sorted(report.uncovered.items())))
        shown = f"tests reach {report.coverage:.0%} of the lines, not {LEAST_COVERAGE:.0%}"
        yield Finding("MC003", path, lines[0], shown)
