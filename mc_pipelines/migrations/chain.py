"""The order of the revisions.

Until 0.8.0 is released each capability keeps its whole schema in its one revision below; after the
release a change is a new revision at the end. Until then a database carries the digest of the revisions
that made it, because a revision that was rewritten keeps its name.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from mc_pipelines.foundation.errors import ConfigurationError
from mc_pipelines.foundation.server import ServerFacts

CHAIN = (
    "0001_foundation",
    "0002_attest",
    "0003_keys",
    "0004_decision",
    "0005_executions",
    "0006_runner",
    "0007_policy",
    "0008_sla",
    "0009_showback",
    "0010_provenance",
    "0011_estimator",
    "0012_api",
)


def sources_digest(revision: str) -> str:
    """Return the digest of the revisions up to ``revision``, as this code has them."""
    digest = hashlib.sha256()
    for name in CHAIN[: CHAIN.index(revision) + 1]:
        digest.update((Path(__file__).parent / "versions" / f"{name}.py").read_bytes())
    return f"sha256:{digest.hexdigest()}"


def is_rewritten(facts: ServerFacts) -> bool:
    """Say whether the schema came from a revision that was edited since; only before a release that happens."""
    if facts.revision not in CHAIN or "dev" not in version("mc-pipelines"):
        return False
    return facts.sources != sources_digest(facts.revision)


def refuse_rewritten(facts: ServerFacts, *, safe_url: str) -> None:
    """Refuse a development database whose revisions were rewritten since it was made (ADR-0604).

    Raises:
        ConfigurationError: with the mend.
    """
    if is_rewritten(facts):
        raise ConfigurationError(
            f"The database was made by an earlier development version of revision {facts.revision}, "
            "and is not migrated before the first release",
            field="MC_DATABASE_URL",
            value=safe_url,
            mend="make it anew: `mc db stop` and remove the folder that MC_HOME names, or name an empty database",
        )
