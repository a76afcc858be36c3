"""`mc doctor`: what is installed, reachable and healthy, and the mend for what is not."""

from __future__ import annotations

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="Say what is installed, reachable and healthy, and how to mend what is not.")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine and what it is connected to; exit code 1 when a check fails. Starts and changes nothing.

    Example: mc doctor --json
    """
    import os
    from dataclasses import asdict

    from mc_pipelines.cli.doctor_checks import State, all_checks
    from mc_pipelines.foundation.settings import load_settings

    findings = all_checks(load_settings(), os.environ)
    failed = any(finding.state is State.FAIL for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        print_table(
            ("check", "", "found", "mend"),
            [(item.check, item.state.value, item.found, item.mend) for item in findings],
        )
    if failed:
        raise typer.Exit(1)
