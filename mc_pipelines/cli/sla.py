"""`mc sla`: contracts, facts of downtime and money, rollups and reports."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from mc_pipelines.sla.contract import Signed

app = typer.Typer(help="Contracts, facts, attainment and reports.", no_args_is_help=True)
contracts = typer.Typer(help="Contracts as data: lint, show, compare, record, assign.", no_args_is_help=True)
app.add_typer(contracts, name="contracts")


class FactKind(StrEnum):
    """What a file of facts holds."""

    INCIDENTS = "incidents"
    MAINTENANCE = "maintenance"
    DEPLOYMENTS = "deployments"
    CHARGES = "charges"
    PROBES = "probes"


class Format(StrEnum):
    """How a report is written."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


_KINDS = {
    FactKind.INCIDENTS: "incident",
    FactKind.MAINTENANCE: "maintenance",
    FactKind.DEPLOYMENTS: "deployment",
    FactKind.CHARGES: "charge",
    FactKind.PROBES: "probe",
}
Source = Annotated[
    str, typer.Argument(help="A contract file, the name of a template, or the digest of a recorded one.")
]


def _load(source: str) -> Signed:
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.sla.document import load_contract
    from mc_pipelines.sla.library import template, template_names

    path = Path(source)
    if path.is_file():
        return load_contract(path.read_bytes())
    if source in template_names():
        return template(source)
    if source.startswith("sha256:"):
        return _recorded(source)
    raise InputError(
        "Neither a file nor a template", field="contract", value=source, mend="`mc sla contracts ls` lists templates"
    )


def _recorded(digest: str) -> Signed:
    """Return a recorded contract whose signature by the service, and whose digest in it, hold."""
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import parse_digest
    from mc_pipelines.sla.contract_store import verified_contract

    with open_context().database.begin() as connection:
        return verified_contract(connection, parse_digest(digest, field="contract"))


@contracts.command("ls")
def list_all(
    recorded: Annotated[bool, typer.Option("--recorded", help="What was recorded here, not the templates.")] = False,
    json: Json = False,
) -> None:
    """List the templates of published contracts with their source and its date, or the recorded contracts.

    Example: mc sla contracts ls --recorded
    """
    if recorded:
        _list_recorded(json=json)
        return
    from mc_pipelines.sla.document import percent_text
    from mc_pipelines.sla.library import template, template_names

    rows = []
    for name in template_names():
        contract = template(name).contract
        tiers = ", ".join(f"<{percent_text(t.below)}: {percent_text(t.credit)} %" for t in contract.tiers)
        rows.append((name, contract.measure.value, tiers, contract.source_text, contract.source_date))
    if json:
        print_json([dict(zip(("name", "measure", "tiers", "source", "date"), row, strict=True)) for row in rows])
    else:
        print_table(("template", "measure", "tiers", "source", "date or edition"), rows)


def _list_recorded(*, json: bool) -> None:
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.contract_store import list_contracts

    with open_context().database.begin() as connection:
        found = list_contracts(connection)
    rows = [(one.contract.name, one.contract.version, one.contract.service, one.digest) for one in found]
    if json:
        print_json([dict(zip(("name", "version", "service", "digest"), row, strict=True)) for row in rows])
    else:
        print_table(("contract", "version", "service", "digest"), rows)


@contracts.command()
def lint(source: Source, json: Json = False) -> None:
    """Find gaps, overlaps, tiers that fall, unit mix-ups and sampling that cannot see the target; exit 1 on an error.

    Example: mc sla contracts lint acme.yaml
    """
    from mc_pipelines.sla.lint import Severity
    from mc_pipelines.sla.lint import lint as find

    sealed = _load(source)
    findings = find(sealed.contract)
    if json:
        print_json([{"severity": f.severity, "field": f.field, "message": f.message, "mend": f.mend} for f in findings])
    else:
        for finding in findings:
            print(f"{finding.severity.value}: {finding.field}: {finding.message}. Mend: {finding.mend}.")
        print(f"{sealed.contract.name} version {sealed.contract.version}: {len(findings)} findings, {sealed.digest}")
    raise typer.Exit(1 if any(f.severity is Severity.ERROR for f in findings) else 0)


@contracts.command()
def show(source: Source, json: Json = False) -> None:
    """Print a contract in its canonical form with its digest; a template as the text to copy from.

    Example: mc sla contracts show aws-compute-region > acme.yaml
    """
    from mc_pipelines.sla.document import document_of
    from mc_pipelines.sla.library import template_names, template_text

    sealed = _load(source)
    if json:
        print_json({"digest": sealed.digest, "contract": document_of(sealed.contract)})
    elif source in template_names() and not Path(source).is_file():
        print(template_text(source), end="")
    else:
        print(sealed.document.decode())
        print(f"# {sealed.digest}")


@contracts.command()
def diff(before: Source, after: Source, json: Json = False) -> None:
    """Compare two contracts field by field.

    Example: mc sla contracts diff aws-ec2-instance acme.yaml
    """
    from mc_pipelines.sla.lint import diff as compare

    changes = compare(_load(before).contract, _load(after).contract)
    if json:
        print_json([{"field": name, "before": left, "after": right} for name, left, right in changes])
    else:
        print_table(("field", "before", "after"), changes)


@contracts.command()
def record(source: Source, json: Json = False) -> None:
    """Record a contract, signed by the service; its digest names it from now on.

    Example: mc sla contracts record acme.yaml
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.contract_store import register_contract
    from mc_pipelines.sla.refusal import audited_refusal

    context = open_context()
    with audited_refusal(context.database, context.clock, "sla.contract-refused", Path(source).name or "nameless"):
        sealed = _load(source)
        with context.database.begin() as connection:
            register_contract(connection, sealed, context.signer, now=context.clock.now())
    if json:
        print_json({"digest": sealed.digest, "name": sealed.contract.name, "version": sealed.contract.version})
    else:
        print(sealed.digest)


@contracts.command()
def assign(
    tenant: Annotated[str, typer.Argument(help="The tenant; `mc tenant ls`.")],
    digest: Annotated[str, typer.Argument(help="The contract; `mc sla contracts ls`.")],
    first_day: Annotated[str, typer.Option("--from", help="First local day, such as 2026-01-19.")],
    last_day: Annotated[str | None, typer.Option("--until", help="Last local day; default: no end.")] = None,
    json: Json = False,
) -> None:
    """Let a recorded contract hold for a tenant.

    Example: mc sla contracts assign acme sha256:... --from 2026-01-01
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_digest, parse_name
    from mc_pipelines.sla.calendar import parse_period
    from mc_pipelines.sla.contract_store import assign_contract
    from mc_pipelines.sla.refusal import audited_refusal

    context = open_context()
    audited = audited_refusal(context.database, context.clock, "sla.assignment-refused", f"{tenant} {digest}")
    with audited, context.database.begin() as connection:
        assigned = assign_contract(
            connection,
            TenantId(parse_name(tenant, field="tenant")),
            parse_digest(digest, field="digest"),
            first_day=parse_period(first_day, "UTC", field="--from").first,
            last_day=None if last_day is None else parse_period(last_day, "UTC", field="--until").last,
            now=context.clock.now(),
        )
    answer = {"tenant": tenant, "service": assigned.contract.service, "from": assigned.first_day.isoformat()}
    print_json(answer) if json else print(" ".join(answer.values()))


@app.command()
def ingest(
    kind: Annotated[FactKind, typer.Argument(help="What the file holds.")],
    path: Annotated[Path, typer.Argument(help="JSON, JSON lines, CSV; charges also as CSV in FOCUS columns.")],
    json: Json = False,
) -> None:
    """Load facts; a fact that is known is left alone, one that changed becomes a further revision.

    Example: mc sla ingest charges focus-2026-01.csv
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.fact_store import ingest_facts
    from mc_pipelines.sla.facts import Kind
    from mc_pipelines.sla.ingest import read_facts
    from mc_pipelines.sla.refusal import audited_refusal

    context = open_context()
    with audited_refusal(context.database, context.clock, "sla.ingest-refused", f"{kind.value} {path.name}"):
        facts = read_facts(path, Kind(_KINDS[kind]))
        with context.database.begin() as connection:
            done = ingest_facts(connection, facts, now=context.clock.now())
    answer = {"new": done.new, "corrected": done.corrected, "known": done.known}
    print_json(answer) if json else print(", ".join(f"{count} {name}" for name, count in answer.items()))


@app.command()
def rollup(json: Json = False) -> None:
    """Roll up every day whose facts are new, commit to it, judge all periods, end every incident that can be ended.

    Example: mc sla rollup
    """
    from secrets import token_bytes

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.assessment import assess_all
    from mc_pipelines.sla.commitment import commit_days
    from mc_pipelines.sla.determination import determine
    from mc_pipelines.sla.rollup import roll_up

    context = open_context()
    rolled = roll_up(context.database, context.object_store, context.clock)
    committed = commit_days(context.database, context.clock, token_bytes)
    judged = assess_all(context.database, context.clock)
    ended = determine(context.database, context.clock, context.signer)
    answer = {
        "days": len(rolled),
        "changed": sum(one.changed for one in rolled),
        "committed": len(committed),
        "periods": len(judged),
        "breached": sum(one.judgement.state.value == "breached" for one in judged),
        "incidents_ended": sum(one.waits_for is None for one in ended),
    }
    print_json(answer) if json else print(", ".join(f"{count} {name}" for name, count in answer.items()))


@app.command("diff")
def differences(
    tenant: Annotated[str, typer.Argument(help="The tenant; `mc tenant ls`.")],
    period: Annotated[str, typer.Argument(help="2026-01, 2026-01-19 or 2026-01-19/2026-01-25.")],
    before: Annotated[str, typer.Option(help="As it was known at this moment.")],
    after: Annotated[str | None, typer.Option(help="As it was known at this one; default: now.")] = None,
    json: Json = False,
) -> None:
    """Say which slices, facts and figures of a period later knowledge has changed.

    Example: mc sla diff acme 2026-01 --before 2026-02-03T00:00:00Z
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.clock import parse_utc
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.sla.restatement import restated_period

    context = open_context()
    now = context.clock.now()
    moments = (parse_utc(before, field="--before"), now if after is None else parse_utc(after, field="--after"))
    with context.database.begin() as connection:
        found = restated_period(connection, TenantId(tenant), period, before=moments[0], after=moments[1], now=now)
    if json:
        print_json([one.to_document() for one in found])
        return
    for one in found:
        if not one.changed:
            print(f"{one.service} {one.period.text}: nothing changed; evidence {one.evidence_after}")
            continue
        rows = [
            (kind, change.name, change.before, change.after)
            for kind, changes in (("slice", one.slices), ("fact", one.facts), ("figure", one.figures))
            for change in changes
            if change.name != "days"
        ]
        print_table(("what", "name", "before", "after"), rows, title=f"{one.service} {one.period.text}")


@app.command()
def counterfactual(
    tenant: Annotated[str, typer.Argument(help="The tenant; `mc tenant ls`.")],
    period: Annotated[str, typer.Argument(help="2026-01, 2026-01-19 or 2026-01-19/2026-01-25.")],
    json: Json = False,
) -> None:
    """Say what a period would have come to under the published contracts of three clouds.

    Example: mc sla counterfactual acme 2026-01
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.sla.counterfactual import counterfactuals
    from mc_pipelines.sla.report import assess_period

    context = open_context()
    with context.database.begin() as connection:
        found = assess_period(connection, TenantId(tenant), period, now=context.clock.now())
    answers = [
        one.to_document() | {"service": each.assigned.contract.service}
        for each in found
        for one in counterfactuals(each.assigned.contract, each.evidence)
    ]
    if json:
        print_json(answers)
        return
    names = ("service", "template", "state", "shown", "creditPercent", "credit", "reason")
    print_table(names, [tuple(one[name] for name in names) for one in answers])


@app.command()
def report(
    tenant: Annotated[str, typer.Argument(help="The tenant; `mc tenant ls`.")],
    period: Annotated[str, typer.Argument(help="2026-01, 2026-01-19 or 2026-01-19/2026-01-25.")],
    as_known_on: Annotated[str | None, typer.Option(help="Leave out what was recorded after this moment.")] = None,
    style: Annotated[Format, typer.Option("--format", help="text, json or html.")] = Format.TEXT,
    json: Json = False,
) -> None:
    """Say what was promised, measured and owed, day by day, now or as it was known at a moment.

    Example: mc sla report acme 2026-01 --as-known-on 2026-02-03T00:00:00Z
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.clock import parse_utc
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.sla.report import make_report

    moment = None if as_known_on is None else parse_utc(as_known_on, field="--as-known-on")
    context = open_context()
    with context.database.begin() as connection:
        found = make_report(
            connection,
            TenantId(tenant),
            period,
            now=context.clock.now(),
            as_known_at=moment,
            pictures=style is Format.HTML,
        )
    if json or style is Format.JSON:
        print_json(found.to_document())
        return
    if style is Format.HTML:
        print(found.to_html())
        return
    for contract in found.contracts:
        figures = contract["figures"]
        title = (
            f"{tenant} {contract['service']} {contract['objective']} {contract['period']}: {figures['state']},"
            f" {figures['shown'] or 'no data'} against {figures['target']}, credit {contract['credit'] or 'on hold'}"
            f"{'' if figures['reason'] is None else ' (' + figures['reason'] + ')'}"
        )
        rows = [(day["day"], day["state"], day["shown"], day["share"]) for day in contract["days"]]
        print_table(("local day", "state to date", "per cent to date", "share"), rows, title=title)
        print(f"Error budget left: {contract['budgetLeft']}; burnt {contract['burnRate']} times as fast as allowed.")
        for alert in contract["alerts"]:
            if alert["fires"]:
                print(f"{alert['alert']} fires: {alert['long']} and {alert['short']} times as fast as allowed.")
        if contract["announcedLate"]:
            print(f"Maintenance announced late excludes nothing: {', '.join(contract['announcedLate'])}.")
        if contract["constructed"]:
            print("Some of the input is constructed.")
