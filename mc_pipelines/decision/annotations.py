"""`# METADATA` annotations (openpolicyagent.org, "Policy Annotations"): YAML in comments before a package or rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from mc_pipelines.foundation.errors import InputError

_MARK = "# METADATA"


@dataclass(frozen=True)
class Annotation:
    """One block.

    Attributes:
        line: of the `# METADATA` comment.
        target_line: of the package, rule or other code it stands before; 0 at the end of a file.
        scope: as written, else ``package`` before a package and ``rule`` elsewhere.
        document: the YAML mapping.
    """

    line: int
    target_line: int
    scope: str
    document: dict[str, Any]


def annotations_of(path: str, text: str) -> tuple[Annotation, ...]:
    """Return all annotation blocks of a module.

    Raises:
        InputError: a block is no YAML mapping.
    """
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        if line.rstrip() != _MARK:
            continue
        end = number
        while end < len(lines) and lines[end].startswith("#") and lines[end].rstrip() != _MARK:
            end += 1
        found.append(_annotation(path, lines, number, end))
    return tuple(found)


def _annotation(path: str, lines: list[str], number: int, end: int) -> Annotation:
    block = "\n".join(line[1:].removeprefix(" ") for line in lines[number:end])
    try:
        document = yaml.safe_load(block)
    except yaml.YAMLError as error:
        raise InputError(f"{path}:{number}: the METADATA block is not YAML", mend="indent it as YAML") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}:{number}: the METADATA block is no mapping", mend="write `# title: ...` lines")
    target = end
    while target < len(lines) and (not lines[target].strip() or lines[target].startswith("#")):
        target += 1
    target_line = target + 1 if target < len(lines) else 0
    default = "package" if target_line and lines[target].startswith("package") else "rule"
    return Annotation(number, target_line, str(document.get("scope", default)), document)
