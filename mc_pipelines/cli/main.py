"""`mc`: noun first, then verb; a noun's module is imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mc_pipelines import __version__
from mc_pipelines.foundation.errors import MaestroError

# noun -> (module, one line). A module holds `app`, a typer.Typer.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "Start database, Dagster UI and API on this machine; Ctrl-C stops all."),
    "demo": ("demo", "Take 90 days of execution data through every capability."),
    "doctor": ("doctor", "Say what is installed, reachable and healthy, and how to mend what is not."),
    "settings": ("settings", "Print every setting with its value and source."),
    "token": ("token", "Issue a bearer token of the local issuer."),
    "db": ("db", "Create, upgrade and inspect the database."),
    "flags": ("flags", "Show and set feature flags."),
    "tenant": ("tenant", "Tenants: zone, currency, residency, contracts."),
    "people": ("people", "People: roles and public keys."),
    "publish": ("publish", "Publish a workflow execution from a manifest."),
    "executions": ("executions", "List, show and ingest executions."),
    "runner": ("runner", "Serve the queue: place, drive, seal."),
    "policy": ("policy", "Packs: check, test, build, decide."),
    "rollout": ("rollout", "Rollouts: simulate, warn, enforce, abort."),
    "sla": ("sla", "Contracts, facts, attainment and reports."),
    "credits": ("credits", "Drafts, approvals and signed credit notes."),
    "showback": ("showback", "Cost per tenant, workflow and cloud."),
    "provenance": ("provenance", "Ingest documents and query the graph."),
    "estimator": ("estimator", "Predict, backtest, explain and promote."),
    "keys": ("keys", "Inventory and rotation of keys."),
    "log": ("log", "The audit log: checkpoints, entries and proofs."),
    "pack": ("pack", "Disclosure packs: build and verify."),
    "verify": ("verify", "Verify a receipt, note, attestation or pack, offline."),
}


_COMPLETION = {"install_completion", "show_completion"}


class LazyGroup(TyperGroup):
    """Imports `mc_pipelines.cli.<module>` only for the noun on the command line."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base's signature
        """Return all nouns, in the order of the table above."""
        return list(COMMANDS)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help from the table's lines, without importing any noun."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the base's signature
        """Return the command of a noun; while help is written, a stand-in that carries only its one line."""
        if cmd_name not in COMMANDS:
            return None
        module, line = COMMANDS[cmd_name]
        if self._listing:
            return TyperCommand(cmd_name, help=line, short_help=line)
        app: typer.Typer = importlib.import_module(f"mc_pipelines.cli.{module}").app
        command = typer.main.get_command(app)
        # Completion is the root's: `mc --install-completion`.
        command.params = [each for each in command.params if each.name not in _COMPLETION]
        command.name = cmd_name
        command.help = command.help or line
        return command


app = typer.Typer(
    cls=LazyGroup,
    name="mc",
    help="Maestro Conductor: run, prove, price and answer for workflow executions on any cloud.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Global options."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a MaestroError becomes one line on standard error and its exit code."""
    try:
        return app(args=arguments)
    except MaestroError as error:
        print(f"mc: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        # A file that was named and cannot be read or written; anything else is ours and keeps its traceback.
        if error.filename is None:
            raise
        print(f"mc: {error.strerror}; file {error.filename}.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
