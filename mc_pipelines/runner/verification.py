"""Judges the receipt of an execution offline, for `mc verify`.

A receipt is the service's statement about a run that the service made. Its signature proves who said it and that
nothing was changed since; it cannot prove that it is true. What was enforced around the command is therefore reported
as stated, mechanism by mechanism, and what was not enforced is said as plainly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc_pipelines.attest.key_history import SERVICE
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.verify import Evidence, register_verifier
from mc_pipelines.executions.manifest import manifest_of
from mc_pipelines.executions.receipt import BUILD_TYPE, PREDICATE_TYPE
from mc_pipelines.foundation.clock import parse_utc
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import parse_digest


def verify_receipt(evidence: Evidence, report: Report) -> None:
    """Check that a receipt agrees with itself, and say what it proves.

    Raises:
        VerificationError: its parts contradict each other.
    """
    definition = _part(evidence.statement.predicate, "buildDefinition")
    if definition.get("buildType") != BUILD_TYPE:
        kind = definition.get("buildType")
        report.not_proved.append(f"What ran: this is SLSA provenance of another builder ({kind}).")
        return
    try:
        _check(evidence, definition, _part(evidence.statement.predicate, "maestro"), report)
    except InputError as error:
        raise VerificationError(error.detail, field=error.field, value=error.value) from error
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise VerificationError("The receipt lacks a part, or has one of another kind", field=str(error)) from error


def _check(evidence: Evidence, definition: Mapping[str, Any], own: Mapping[str, Any], report: Report) -> None:
    if SERVICE not in evidence.holders:
        raise VerificationError("A receipt is signed by the service, and this is not", field="signatures")
    _check_log(evidence, own)
    _check_manifest(definition, report)
    _check_order(_part(own, "timings"))
    last = own["attempts"][-1]
    if (last["attempt"], last["end"]) != (own["attempt"], own["outcome"]):
        raise VerificationError("The last attempt is not the one that the receipt is about", field="maestro.attempts")
    what = f"execution {own['executionId']} of {own['tenant']}"
    place = "nowhere" if own["cloud"] is None else f"on {own['cloud']}/{own['region']}"
    report.proved.append(f"The service states: {what} {own['outcome']} {place}: {own['reason']}.")
    log = own["log"]
    report.proved.append(f"Its log has digest {log['digest']}, {log['bytes']} bytes{_cut(log)}.")
    _say_enforcement(own["enforcement"], report)
    report.not_proved.append("That the log beside this receipt, if there is one, is that log: compare its sha256.")
    report.not_proved.append("That no other receipt of this execution exists: ask the service's record for the id.")


def _check_log(evidence: Evidence, own: Mapping[str, Any]) -> None:
    log = _part(own, "log")
    digest = parse_digest(str(log.get("digest")), field="maestro.log.digest")
    subjects = [(one.name, one.sha256) for one in evidence.statement.subjects]
    if subjects != [(f"execution/{own.get('executionId')}/log", digest)]:
        raise VerificationError("The statement is about another log than the receipt", field="subject")


def _check_manifest(definition: Mapping[str, Any], report: Report) -> None:
    """Check the manifest against its digest, which it can be only where no value of the environment was left out."""
    parameters = dict(_part(definition, "externalParameters"))
    claimed = _part(definition, "internalParameters").get("manifestDigest")
    if parameters.get("environment"):
        report.not_proved.append("The manifest against its digest: the values of its environment are secret.")
        return
    parameters.pop("environment", None)
    if manifest_of(parameters).digest != claimed:
        raise VerificationError("The manifest is not the one of the digest", field="manifestDigest", value=claimed)
    report.proved.append(f"What was asked for is the manifest {claimed}.")


def _check_order(timings: Mapping[str, Any]) -> None:
    named = [(name, timings[name]) for name in ("published", "claimed", "started", "finished") if name in timings]
    moments = [parse_utc(str(value), field=f"maestro.timings.{name}") for name, value in named]
    if moments != sorted(moments):
        raise VerificationError("The moments of the receipt are out of order", field="maestro.timings")


def _say_enforcement(enforcement: Any, report: Report) -> None:
    if not isinstance(enforcement, Mapping):
        report.not_proved.append("Any protection: nothing was started.")
        return
    for name, control in sorted(enforcement.items()):
        if control.get("enforced"):
            report.proved.append(f"As stated, {name} was enforced by {control['mechanism']}: {control['evidence']}.")
        else:
            report.not_proved.append(f"{name} was not enforced: {control.get('evidence')}.")
    report.not_proved.append("The protections themselves: they are what the service saw, not what you can measure.")


def _part(document: Any, name: str) -> Mapping[str, Any]:
    found = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(found, Mapping):
        raise VerificationError("The receipt lacks a part", field=name)
    return found


def _cut(log: Mapping[str, Any]) -> str:
    return ", cut at the limit" if log.get("truncated") else ""


def register() -> None:
    """Let `mc verify` judge receipts."""
    register_verifier(PREDICATE_TYPE, verify_receipt)


register()
