"""Pictures of service levels as SVG: a calendar of days, the burn-down of budgets, and what it may cost.

All three take assessments of any number of tenants and name none: a cell, line or bar stands for a service and
objective. Text stays text, so that the pictures can be searched and read aloud.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.assessment import Assessment
from mc_pipelines.sla.attainment import State
from mc_pipelines.sla.budget import burn_down
from mc_pipelines.sla.judgement import attain

_MOST_DAYS = 62
_HALF = 0.5
_COLOURS = {"kept": "#7cc08f", "some": "#f4d35e", "broken": "#d1495b", "empty": "#d9dce0", "line": "#1f4e79"}
_STANDINGS = ("given", "waiting for signatures", "owed so far, period running", "owed, not drafted")
_BAR_COLOURS = ("#7cc08f", "#1f4e79", "#e0a030", "#d1495b")


def attainment_calendar(assessments: Iterable[Assessment]) -> str:
    """Draw each local day of the last two months: the share of tenants whose day, taken alone, kept the target."""
    kept: dict[str, Counter[date]] = defaultdict(Counter)
    judged: dict[str, Counter[date]] = defaultdict(Counter)
    for one in assessments:
        for day, state in _days_alone(one):
            judged[_name(one)][day] += state is not State.NO_DATA
            kept[_name(one)][day] += state is State.MET
    days = sorted({day for counted in judged.values() for day in counted})[-_MOST_DAYS:]
    names = sorted(judged)
    with _figure(max(6.0, 0.26 * len(days) + 2.6), 1.3 + 0.42 * max(1, len(names))) as (axes, text):
        for row, name in enumerate(names):
            for day in days:
                total = judged[name][day]
                share = kept[name][day] / total if total else None
                _cell(axes, (day - days[0]).days, row, share, total - kept[name][day])
        axes.set_yticks(range(len(names)), names)
        _day_ticks(axes, days)
        axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
        axes.set_title(
            "Days taken alone: green kept the target; a number is how many tenants' days did not; grey: no data",
            loc="left",
            fontsize=9,
        )
        _bare(axes)
    return text[0]


def _days_alone(one: Assessment) -> Iterator[tuple[date, State]]:
    contract, evidence = one.assigned.contract, one.evidence
    for share, day in zip(one.judgement.days, evidence.period.days(), strict=False):
        yield share.day, attain(contract, evidence, day).state


def _cell(axes: Any, column: int, row: int, share: float | None, broken: int) -> None:
    from matplotlib.patches import Rectangle

    colour = _COLOURS["empty"] if share is None else _mixed(share)
    axes.add_patch(Rectangle((column - 0.45, row - 0.42), 0.9, 0.84, facecolor=colour, edgecolor="none"))
    if broken:
        axes.text(column, row, str(broken), ha="center", va="center", fontsize=7, color="#222222")


def _mixed(share: float) -> tuple[float, ...]:
    """Return green for all, yellow for half, red for none."""
    from matplotlib.colors import to_rgb

    lower = share < _HALF
    low, high = (to_rgb(_COLOURS[name]) for name in (("broken", "some") if lower else ("some", "kept")))
    part = share / _HALF if lower else share / _HALF - 1
    return tuple(a + (b - a) * part for a, b in zip(low, high, strict=True))


def budget_burn_down(assessments: Iterable[Assessment]) -> str:
    """Draw the part of the error budget left at the end of each local day: the median tenant, and the worst."""
    left: dict[str, dict[date, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in assessments:
        for day, part in burn_down(one.assigned.contract, one.judgement, one.evidence.period):
            left[_name(one)][day].append(float(part))
    names = sorted(left)
    with _figure(7.5, 1.0 + 1.7 * max(1, len(names)), rows=max(1, len(names))) as (axes, text):
        for panel, name in zip([axes] if len(names) <= 1 else axes, names, strict=False):
            days = sorted(left[name])[-_MOST_DAYS:]
            values = [sorted(left[name][day]) for day in days]
            panel.axhline(0, color=_COLOURS["broken"], linewidth=1)
            panel.plot(days, [one[len(one) // 2] for one in values], color=_COLOURS["line"], label="median tenant")
            panel.plot(days, [one[0] for one in values], color=_COLOURS["broken"], linestyle="--", label="worst tenant")
            panel.set_ylim(min(-0.1, *(max(-2.0, one[0]) for one in values)), 1.05)
            panel.set_title(name, fontsize=9, loc="left")
            panel.set_ylabel("budget left", fontsize=8)
            panel.tick_params(labelsize=8)
            panel.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), frameon=False, ncols=2)
    return text[0]


def credit_exposure(amounts: Mapping[str, Sequence[Money]]) -> str:
    """Draw what credits come to, by currency and standing.

    Args:
        amounts: by standing, one of ``given``, ``waiting for signatures``, ``owed so far, period running`` and
            ``owed, not drafted``: the amounts.
    """
    totals: dict[str, Counter[str]] = {name: Counter() for name in _STANDINGS}
    for name, found in amounts.items():
        for one in found:
            totals[name][one.currency] += one.minor
    currencies = sorted({currency for counted in totals.values() for currency in counted}) or ["USD"]
    with _figure(7.5, 0.5 + 1.5 * len(currencies), rows=len(currencies)) as (axes, text):
        for panel, currency in zip([axes] if len(currencies) == 1 else axes, currencies, strict=True):
            for row, name in enumerate(_STANDINGS):
                money = Money(currency, totals[name][currency])
                panel.barh(row, float(money.amount), 0.7, color=_BAR_COLOURS[row])
                if money.minor:
                    panel.text(float(money.amount), row, f"  {money.amount}", va="center", fontsize=8)
            panel.set_yticks(range(len(_STANDINGS)), _STANDINGS)
            panel.invert_yaxis()
            panel.margins(x=0.15)
            panel.set_title(f"Credits, {currency}", loc="left", fontsize=9)
            panel.tick_params(labelsize=8)
    return text[0]


def _name(one: Assessment) -> str:
    return f"{one.assigned.contract.service}, {one.assigned.contract.objective.value}"


def _day_ticks(axes: Any, days: Sequence[date]) -> None:
    if not days:
        return
    span = (days[-1] - days[0]).days + 1
    marks = [offset for offset in range(span) if (days[0] + timedelta(days=offset)).day in {1, 8, 15, 22}]
    axes.set_xticks(marks, [(days[0] + timedelta(days=offset)).strftime("%d %b") for offset in marks])
    axes.set_xlim(-0.6, span - 0.4)


def _bare(axes: Any) -> None:
    axes.tick_params(length=0, labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


@contextmanager
def _figure(width: float, height: float, *, rows: int = 1) -> Iterator[tuple[Any, list[str]]]:
    """Yield axes to draw on and a list that holds the SVG afterwards; no display is needed."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    text: list[str] = []
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mc", "font.size": 9}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots(rows, 1, squeeze=True), text
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    text.append(content.getvalue()[content.getvalue().index("<svg") :])
