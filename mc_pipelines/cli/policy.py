"""`mc policy`: check, test, build and ask packs; put the last good revision back."""

from __future__ import annotations

import json as json_module
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from mc_pipelines.policy.guard import Finding

app = typer.Typer(help="Packs: check, test, build, decide.", no_args_is_help=True)


def _root() -> Path:
    from mc_pipelines.decision.packs import policy_root
    from mc_pipelines.foundation.settings import load_settings

    return policy_root(load_settings().policy_dir)


@app.command()
def ls(json: Json = False) -> None:
    """List the packs with their revisions.

    Example: mc policy ls --json
    """
    from mc_pipelines.decision.packs import list_packs, load_pack

    root = _root()
    packs = [load_pack(name, root=root) for name in list_packs(root)]
    rows = [{"pack": pack.name, "revision": pack.revision, "title": pack.metadata.get("title", "")} for pack in packs]
    if json:
        print_json(rows)
    else:
        print_table(("pack", "revision", "title"), [tuple(row.values()) for row in rows])


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder of one pack.")],
    against: Annotated[Path | None, typer.Option(help="Folder of the revision it replaces.")] = None,
    json: Json = False,
) -> None:
    """Run the guard over a pack; exit 1 if it finds anything.

    Example: mc policy check policy/placement --against ../released/policy/placement
    """
    from mc_pipelines.decision.packs import read_pack
    from mc_pipelines.policy.guard import check_change, check_folder

    findings = check_folder(path)
    if against is not None and not findings:
        findings += check_change(read_pack(against), read_pack(path))
    _report(findings, json=json)


@app.command()
def gate(json: Json = False) -> None:
    """Run the guard over every pack, and conftest where it is installed; exit 1 on any violation.

    Example: mc policy gate
    """
    from mc_pipelines.decision.packs import list_packs
    from mc_pipelines.policy.guard import check_folder

    root = _root()
    names = list_packs(root)
    findings = [finding for name in names for finding in check_folder(root / name)]
    findings += _conftest(root)
    if not json and not findings:
        print(f"{len(names)} packs pass: {', '.join(names)}")
    _report(findings, json=json)


def _conftest(root: Path) -> list[Finding]:
    from mc_pipelines.policy.guard import Finding

    conftest = shutil.which("conftest") or shutil.which(str(Path(".tools/bin/conftest").absolute()))
    if conftest is None:
        return []
    command = [conftest, "verify", "--no-color", "--policy", str(root), "--data", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - no shell
    if done.returncode == 0:
        return []
    lines = (done.stdout + done.stderr).strip().splitlines()
    return [Finding("MC003", "conftest", 1, line) for line in lines if line.strip()]


def _report(findings: list[Finding], *, json: bool) -> None:
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(finding)
    if findings:
        raise typer.Exit(1)


@app.command("test")
def run_tests(
    name: Annotated[str | None, typer.Argument(help="Pack; default: all.")] = None,
    json: Json = False,
) -> None:
    """Run the Rego unit tests of packs; exit 1 if one does not pass.

    Example: mc policy test placement
    """
    from mc_pipelines.decision.packs import list_packs, load_pack
    from mc_pipelines.decision.rego_test import run_pack_tests

    root = _root()
    reports = {
        each: run_pack_tests(load_pack(each, root=root)) for each in (list_packs(root) if name is None else (name,))
    }
    if json:
        print_json({each: asdict(report) | {"coverage": report.coverage} for each, report in reports.items()})
    else:
        for each, report in reports.items():
            for result in report.results:
                if result.outcome != "pass":
                    print(f"{result.file}:{result.line}: {result.outcome} {result.name} {result.message}")
            passed = sum(result.outcome == "pass" for result in report.results)
            print(f"{each}: {passed} of {len(report.results)} pass, {report.coverage:.0%} of lines reached")
    if not all(report.ok for report in reports.values()):
        raise typer.Exit(1)


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="Pack.")],
    output: Annotated[Path, typer.Option(help="Where the bundle goes; default: <digest>.tar.gz here.")] = Path(),
    json: Json = False,
) -> None:
    """Build a pack's OPA bundle, the same bytes everywhere.

    Example: mc policy build placement --output placement.tar.gz
    """
    from mc_pipelines.decision.packs import load_pack
    from mc_pipelines.policy.bundles import build_bundle

    bundle = build_bundle(load_pack(name, root=_root()))
    target = output / f"{bundle.digest.removeprefix('sha256:')}.tar.gz" if output.is_dir() else output
    target.write_bytes(bundle.content)
    facts = {"pack": bundle.pack, "revision": bundle.revision, "digest": bundle.digest, "path": str(target)}
    if json:
        print_json(facts)
    else:
        print_table(("what", "value"), facts.items())


@app.command()
def decide(
    name: Annotated[str, typer.Argument(help="Pack.")],
    rule: Annotated[str, typer.Argument(help="Rule in the pack, such as deny.")],
    input_file: Annotated[Path, typer.Option("--input", help="JSON input; - reads standard input.")],
    json: Json = False,
) -> None:
    """Ask a pack; exit 1 if it gives no decision.

    Example: mc policy decide placement deny --input request.json --json
    """
    from mc_pipelines.decision.engine import open_engine
    from mc_pipelines.decision.packs import load_pack
    from mc_pipelines.foundation.settings import load_settings

    pack = load_pack(name, root=_root())
    verdict = open_engine(load_settings(), pack).evaluate(f"data.{name}.{rule}", _document(input_file))
    if json:
        print_json(asdict(verdict) | {"revision": pack.revision})
    elif verdict.defined:
        print(json_module.dumps(verdict.value, indent=2, ensure_ascii=False))
    else:
        print(f"no decision: {verdict.error}")
    if not verdict.defined:
        raise typer.Exit(1)


def _document(path: Path) -> Any:
    from mc_pipelines.foundation.canonical import parse_json
    from mc_pipelines.foundation.errors import InputError

    try:
        text = typer.get_text_stream("stdin").read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The input cannot be read: {error}", field="--input", value=str(path)) from error
    parse_json(text, what="input")
    return json_module.loads(text)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Pack.")],
    reason: Annotated[str, typer.Option(help="Why; goes into the audit log.")],
    by: Annotated[
        str, typer.Option(help="Who does it; goes into the audit log, so an id and not a name.")
    ] = "operator",
    json: Json = False,
) -> None:
    """Put a pack's last known good revision back, at once, for everybody; two people signed that once already.

    Example: mc policy rollback placement --reason "the new rule denies nightly jobs"
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.policy.controller import roll_back_pack

    context = open_context()
    with context.database.begin() as connection:
        pointer = roll_back_pack(connection, name, by=by, reason=reason, now=context.clock.now())
    if json:
        print_json(asdict(pointer))
    else:
        print(f"{name} decides by {pointer.active} again (version {pointer.version})")
