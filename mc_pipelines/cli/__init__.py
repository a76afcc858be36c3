"""The `mc` command line: one lazily loaded Typer module per capability; imports no dagster."""
