"""From what the probes saw to what is written into receipts: enforced, how, and the mend where it is not."""

from __future__ import annotations

from mc_pipelines.runner.driver import Control, Egress, Enforcement, Work
from mc_pipelines.runner.sandbox.commands import Mechanism
from mc_pipelines.runner.sandbox.spec import Probes

_MEND = "install bubblewrap (Debian: apt-get install bubblewrap), or allow user namespaces for this user"


def judge(probes: Probes, work: Work, mechanism: Mechanism) -> Enforcement:
    """Return the enforcement that a report proves.

    Args:
        probes: what was tried from inside, after every protection was in place.
        work: what was asked for.
        mechanism: what built the sandbox.
    """
    how = probes.mechanisms
    failures = "; ".join(probes.failures)
    return Enforcement(
        read_only_root=_control(probes.write_leaks, how.get("root"), "writes to /, /usr, /etc and beside failed"),
        egress=(
            Control(enforced=False, mechanism="none", evidence="an open network was asked for")
            if work.egress is Egress.OPEN
            else _control(probes.network_leaks, how.get("network"), "TCP and UDP to this machine were unreachable")
        ),
        file_reads=_control(probes.read_leaks, how.get("reads"), "a file beside the working folder could not be read"),
        limits=_control(probes.limit_leaks, "rlimits", "every limit reads back as set"),
        privileges=_control(
            [*probes.privilege_leaks, *([failures] if "privileges" in failures else [])],
            "no capabilities, no_new_privs" + (", seccomp" if "seccomp" in how else ""),
            f"read back from the kernel; sandbox by {mechanism}" + (f"; {failures}" if failures else ""),
        ),
    )


def nothing_enforced(mechanism: Mechanism, reason: str) -> Enforcement:
    """Return the enforcement of an attempt that never began."""
    none = Control(enforced=False, mechanism=str(mechanism), evidence=reason, mend=_MEND)
    return Enforcement(none, none, none, none, none)


def _control(leaks: list[str], mechanism: str | None, evidence: str) -> Control:
    if leaks or mechanism is None:
        seen = "; ".join(leaks) or "no mechanism of this kernel could be used"
        return Control(enforced=False, mechanism=mechanism or "none", evidence=seen, mend=_MEND)
    return Control(enforced=True, mechanism=mechanism, evidence=evidence)
