"""What Prometheus asks about service levels and credits, read from the records at scrape time."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Connection, text

from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.foundation.metrics import business_metrics
from mc_pipelines.foundation.money import Money

# The newest judgement of each tenant's newest period that is judged; the evidence itself is not read.
_BREACH = """
select distinct on (tenant, service, objective) tenant, service, objective, entitled_minor
from sla_judgement where currency = 'USD' and entitled_minor is not null
order by tenant, service, objective, period_first desc, revision desc
"""
_WAITING = """
select currency, count(*) as drafts, sum(abs(amount_minor)) as minor, min(created_at) as oldest,
       extract(epoch from now() - min(created_at)) as age
from sla_draft d where not exists (
    select from sla_draft_event e where e.draft_id = d.draft_id and e.event <> 'reminded'
) group by currency order by currency
"""
_ISSUED = "select kind, count(*) as notes from sla_note group by kind order by kind"


_CHECKED = """
select c.content from attest_log_leaf l join attest_log_content c on c.content_digest = l.content_digest
where l.act = 'credits.completeness-checked' order by l.subject desc limit 1
"""


@business_metrics("sla")
def sla_metrics(connection: Connection) -> Iterable[Metric]:
    """Yield the breach amount per tenant, the drafts that wait for people, and the notes issued."""
    breach = GaugeMetricFamily(
        "mc_sla_breach_usd",
        "Credit of the newest billing period to date, in US dollars (contracts in USD only).",
        labels=["tenant", "service", "objective"],
    )
    for row in connection.execute(text(_BREACH)):
        breach.add_metric([row.tenant, row.service, row.objective], float(Money("USD", row.entitled_minor).amount))
    yield breach
    drafts = GaugeMetricFamily("mc_sla_drafts", "Credit drafts that wait for people.", labels=["currency"])
    age = GaugeMetricFamily(
        "mc_sla_oldest_draft_seconds", "Age of the oldest draft that waits, in seconds.", labels=["currency"]
    )
    for row in connection.execute(text(_WAITING)):
        drafts.add_metric([row.currency], row.drafts)
        age.add_metric([row.currency], max(0.0, float(row.age)))
    yield drafts
    yield age
    notes = GaugeMetricFamily("mc_sla_notes", "Documents issued.", labels=["kind"])
    for row in connection.execute(text(_ISSUED)):
        notes.add_metric([row.kind], row.notes)
    yield notes
    missing = GaugeMetricFamily(
        "mc_sla_missing", "What the newest daily comparison of incidents, breaches and notes missed.", labels=["what"]
    )
    for content in connection.execute(text(_CHECKED)).scalars():
        statement = parse_statement(Envelope.from_json(bytes(content)).payload)
        for name, count in sorted(statement.predicate["counts"].items()):
            missing.add_metric([name], count)
    yield missing
