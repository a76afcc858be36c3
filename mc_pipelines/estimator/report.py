"""The backtest for people: Markdown for Dagster's metadata, and one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from mc_pipelines.estimator.backtest import SOURCES, Backtest
from mc_pipelines.estimator.drift import State
from mc_pipelines.estimator.ledger import WINDOWS, Ledgered
from mc_pipelines.estimator.plots import overview_png, overview_svg

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Estimator backtest: {{ report.source }}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{padding:.3rem .6rem;border-bottom:1px solid #ddd;
text-align:right}th:first-child,td:first-child{text-align:left}.OK{color:#0b6e4f}.DRIFT{color:#b00020;font-weight:600}
.UNDETERMINED{color:#8a6d00}svg{max-width:100%;height:auto}caption{text-align:left;font-weight:600}
</style></head><body>
<h1>Estimator backtest</h1>
<p>{{ report.source }}{% if report.constructed %} (<strong>constructed in part</strong>){% endif %},
{{ report.start.strftime('%Y-%m-%d %H:%M') }} to {{ report.end.strftime('%Y-%m-%d %H:%M') }} UTC,
{{ report.runs }} runs, {{ '%.2f'|format(report.spend_usd) }} USD.
Of the ten dearest workflows {{ ok }} are OK, {{ drifting }} DRIFT, {{ open }} UNDETERMINED.</p>
<p>Drift is sum(predicted) / sum(actual) - 1 over the runs that finished in the window, of what was served.
OK means that the whole 95 % interval lies within 5 %; UNDETERMINED means that the data cannot tell.</p>
{{ picture }}
<table><caption>Drift as served</caption><tr><th>workflow</th><th>USD</th><th>runs</th><th>drift</th><th>low</th>
<th>high</th><th>state</th><th>runs needed</th><th>v1</th><th>v2</th><th>WAPE</th><th>MAPE</th><th>coverage</th></tr>
{% for row, v1, v2 in rows %}<tr><td>{{ row.workflow }}</td><td>{{ '%.2f'|format(row.spend_usd) }}</td>
<td>{{ row.runs }}</td><td>{{ pct(row.drift) }}</td><td>{{ pct(row.low) }}</td><td>{{ pct(row.high) }}</td>
<td class="{{ row.state }}">{{ row.state }}</td><td>{{ row.runs_needed }}</td><td>{{ pct(v1) }}</td>
<td>{{ pct(v2) }}</td><td>{{ pct(row.wape) }}</td><td>{{ pct(row.mape) }}</td>
<td>{{ pct(report.coverage_by_workflow[row.workflow]) }}</td></tr>
{% endfor %}</table>
<table><caption>All runs of the window</caption><tr><th>source</th><th>drift</th><th>WAPE</th>
<th>weekly windows within 5 %</th></tr>
{% for name in sources %}{% set score = report.scores[name] %}<tr><td>{{ name }}</td><td>{{ pct(score.drift) }}</td>
<td>{{ '%.3f'|format(score.wape) }}</td><td>{{ score.windows.within }} of {{ score.windows.count }}</td></tr>
{% endfor %}</table>
<p>v2 was served for {{ pct(report.v2_share) }} of the runs and clamped for {{ pct(report.clamp_share) }} of those.
Nominal 90 % intervals cover {{ pct(report.coverage90) }}. Confidence is off by
{{ '%.3f'|format(report.calibration.expected_error) }} (expected calibration error over weekly windows; a perfect
confidence would show {{ '%.3f'|format(report.calibration.noise_floor) }} with so few).
Replay took {{ '%.1f'|format(report.seconds) }} s.</p>
<table><caption>Reasons</caption>{% for name, count in reasons %}<tr><td>{{ name }}</td><td>{{ count }}</td></tr>
{% endfor %}</table>
{% if report.alarms %}<table><caption>Early warnings</caption><tr><th>workflow</th><th>at</th><th>runs since change</th>
</tr>{% for alarm in report.alarms %}<tr><td>{{ alarm.workflow }}</td><td>{{ alarm.at.strftime('%Y-%m-%d %H:%M') }}</td>
<td>{{ alarm.runs_since_change }}</td></tr>{% endfor %}</table>{% endif %}
{% if report.changes %}
<table><caption>Why spend moved in the last week, USD a day against the four weeks before</caption>
<tr><th>workflow</th><th>before</th><th>after</th><th>price</th><th>volume</th><th>mix</th><th>behaviour</th>
<th>cause</th></tr>
{% for split in report.changes %}<tr><td>{{ split.workflow }}</td><td>{{ '%.2f'|format(split.before) }}</td>
<td>{{ '%.2f'|format(split.after) }}</td><td>{{ '%+.2f'|format(split.price) }}</td>
<td>{{ '%+.2f'|format(split.volume) }}</td>
<td>{{ '%+.2f'|format(split.mix) }}</td><td>{{ '%+.2f'|format(split.model) }}</td>
<td>{{ split.causes|join(', ') }}</td></tr>
{% endfor %}</table>{% endif %}
<p>Left out: {{ report.excluded or 'no row' }}. Columns not used: {{ report.ignored_columns or 'none' }}.</p>
</body></html>
"""


def render_html(report: Backtest) -> str:
    """Return the report as one HTML page without outside references."""
    from jinja2 import Environment
    from markupsafe import Markup

    svg = overview_svg(report)
    v1 = {row.workflow: row.drift for row in report.workflows_v1}
    v2 = {row.workflow: row.drift for row in report.workflows_v2}
    return (
        Environment(autoescape=True)
        .from_string(_TEMPLATE)
        .render(
            report=report,
            picture=Markup(svg[svg.index("<svg") :]),  # noqa: S704 - our own drawing; its texts are escaped by matplotlib
            rows=[(row, v1[row.workflow], v2[row.workflow]) for row in report.workflows],
            sources=SOURCES,
            reasons=sorted(report.reasons.items(), key=lambda item: -item[1]),
            pct=_percent,
            ok=report.count(State.OK),
            drifting=report.count(State.DRIFT),
            open=report.count(State.UNDETERMINED),
        )
    )


def render_markdown(report: Backtest, *, picture: bool = True) -> str:
    """Return the report as Markdown for asset metadata, with its picture inlined."""
    made = " (constructed in part)" if report.constructed else ""
    lines = [
        f"**{report.source}{made}**, {report.start:%Y-%m-%d} to {report.end:%Y-%m-%d}, {report.runs} runs.",
        "",
        "| workflow | USD | runs | drift | 95 % interval | state | runs needed | WAPE |",
        "|---|---:|---:|---:|---|---|---:|---:|",
    ]
    lines += [
        f"| {row.workflow.replace('|', '¦')} | {row.spend_usd:.2f} | {row.runs} | {_percent(row.drift)} "
        f"| {_percent(row.low)} to {_percent(row.high)} | {row.state} | {row.runs_needed} | {_percent(row.wape)} |"
        for row in report.workflows
    ]
    lines += ["", "| source | drift | WAPE | weekly windows within 5 % |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {_percent(score.drift)} | {score.wape:.3f} | {score.windows.within} of {score.windows.count} |"
        for name, score in report.scores.items()
    ]
    if picture:
        lines += ["", f"![backtest](data:image/png;base64,{base64.b64encode(overview_png(report)).decode('ascii')})"]
    return "\n".join(lines)


def metadata_of(report: Backtest, served: Sequence[Ledgered] = ()) -> dict[str, Any]:
    """Return the numbers of the report as flat metadata: name to number or text.

    ``ledger_*`` is of what was served in the window of the promise, the rest of the replay.
    """
    promise = [one for one in served if one.source == "served" and one.window_days == WINDOWS[-1]]
    return {
        "ledger_runs": sum(row.runs for one in promise for row in one.rows),
        "ledger_drift": sum(one.count(State.DRIFT) for one in promise),
        "ledger_undetermined": sum(one.count(State.UNDETERMINED) for one in promise),
        "served_drift": report.scores["served"].drift,
        "served_wape": report.scores["served"].wape,
        "v1_wape": report.scores["v1"].wape,
        "v2_share": report.v2_share,
        "clamp_share": report.clamp_share,
        "coverage90": report.coverage90,
        "workflows_ok": report.count(State.OK),
        "workflows_drift": report.count(State.DRIFT),
        "workflows_undetermined": report.count(State.UNDETERMINED),
        "runs": report.runs,
        "constructed": report.constructed,
        "calibration_error": report.calibration.expected_error,
        "early_warnings": len(report.alarms),
        "changes": ", ".join(f"{split.workflow}: {'+'.join(split.causes)}" for split in report.changes[:10]) or "none",
    }


def _percent(value: float) -> str:
    return f"{value:+.1%}" if abs(value) != float("inf") and value == value else "–"  # noqa: PLR0124, RUF001 - NaN test
