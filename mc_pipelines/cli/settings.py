"""`mc settings`: every setting with its value and source."""

from __future__ import annotations

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="Print every setting with its value and source.")


@app.command()
def settings(as_json: Json = False) -> None:
    """Print every setting, where its value comes from and what it is for; secrets are masked.

    Example: MC_API_PORT=9000 mc settings
    """
    import os
    import sys
    from dataclasses import asdict

    from mc_pipelines.foundation.settings import describe, load_settings, unknown_variables

    lines = describe(load_settings(), os.environ)
    unknown = unknown_variables(os.environ)
    if as_json:
        print_json({"settings": [asdict(line) for line in lines], "unknown": unknown})
    else:
        print_table(
            ("setting", "value", "source", "for"),
            [(line.name, line.value, line.source, line.description) for line in lines],
        )
    for name, meant in unknown.items():
        print(f"mc: {name} is no setting" + (f"; {meant} was probably meant" if meant else ""), file=sys.stderr)
