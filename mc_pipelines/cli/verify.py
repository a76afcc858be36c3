"""`mc verify`: check any signed file offline, without a database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json

app = typer.Typer(help="Verify a receipt, note, attestation or pack, offline.")

# Modules that register what their statements and packs mean; those not installed yet are passed over.
_REGISTRARS = (
    "mc_pipelines.runner.verification",
    "mc_pipelines.keys.verification",
    "mc_pipelines.sla.verification",
    "mc_pipelines.sla.financial_review",
    "mc_pipelines.policy.verification",
    "mc_pipelines.provenance.verification",
    "mc_pipelines.estimator.verification",
)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="Envelope, note, bundle, checkpoint, log proof or pack.")],
    trust: Annotated[Path | None, typer.Option(help="Trust file; default: trust.json beside it or in MC_HOME.")] = None,
    artifact: Annotated[Path | None, typer.Option(help="What a bundle's message signature is about.")] = None,
    json: Json = False,
) -> None:
    """Say what a file proves and what it does not; exit 0 if it holds, 1 if not, 2 if it cannot be judged.

    Example: mc verify note-2026-000001.json --trust trust.json
    """
    from mc_pipelines.attest.trust import Trust
    from mc_pipelines.attest.verify import verify_file

    register_verifiers()
    trust_file = _trust_path(file, trust)
    believed = Trust.from_json(trust_file.read_bytes())
    report = verify_file(file, believed, artifact=None if artifact is None else artifact.read_bytes())
    if json:
        print_json(report.to_document() | {"trust": trust_file})
    else:
        print(f"{file}: {report.kind}: {'verified' if report.ok else 'NOT VERIFIED'}")
        print(f"  believing: {trust_file}, version {believed.version}, {len(believed.keys)} keys")
        for heading, sentences in (
            ("proved", report.proved),
            ("not proved", report.not_proved),
            ("wrong", report.problems),
        ):
            for sentence in sentences:
                print(f"  {heading}: {sentence}")
    raise typer.Exit(0 if report.ok else 1)


def _trust_path(file: Path, given: Path | None) -> Path:
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.foundation.settings import load_settings

    candidates = (
        [given] if given is not None else [file.parent / "trust.json", load_settings().home_path / "trust.json"]
    )
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(
        "There is no trust file",
        field="--trust",
        value=", ".join(str(one) for one in candidates),
        mend="who keeps the log writes one with `mc log trust --out FILE`; get it from them and name it with"
        " `--trust FILE`; never take it from the sender of the file",
    )


def register_verifiers() -> None:
    """Import every module that says what its statements and packs mean."""
    from importlib import import_module
    from importlib.util import find_spec

    for name in _REGISTRARS:
        if find_spec(name) is not None:
            import_module(name)
