"""Tables in asset metadata: what people would rather look at than read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

_MOST_ROWS = 200


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """Return a Markdown table, which the UI shows as one; at most 200 rows, and it says when there were more."""
    listed = list(rows)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in listed[:_MOST_ROWS]]
    if len(listed) > _MOST_ROWS:
        lines.append(f"\n{len(listed) - _MOST_ROWS} more rows are not shown.")
    return dg.MetadataValue.md("\n".join(lines))


def picture(svg: str) -> dg.MarkdownMetadataValue:
    """Return an SVG as an image."""
    import base64

    return dg.MetadataValue.md(f"![plot](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')})")


def outcome(passed: bool, problems: Sequence[str], **facts: Any) -> dict[str, Any]:
    """Return the arguments of an AssetCheckResult: whether it passed, and up to ten problems in words."""
    return {
        "passed": passed,
        "metadata": {"problems": dg.MetadataValue.md("\n".join(f"- {each}" for each in problems[:10]) or "none")}
        | {name: value for name, value in facts.items() if not isinstance(value, Mapping)},
    }


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
