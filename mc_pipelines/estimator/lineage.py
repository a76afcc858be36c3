"""Where a model comes from, as the service vouches for it: SLSA provenance v1 of its training run.

The subject is the model's document by digest; the training run used the training data, named by the digest of its
columns, and the model that it follows. It names no person and no file, for every tenant may read it.
"""

from __future__ import annotations

import json
from typing import Any

from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement, Subject
from mc_pipelines.estimator.artefact import Artefact
from mc_pipelines.estimator.registry import Models, path_of
from mc_pipelines.foundation.ids import Digest, parse_digest

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILDER = "https://maestro-conductor.example/estimator"
_BUILD_TYPE = f"{BUILDER}/training/v1"


def lineage_of(artefact: Artefact) -> Statement:
    """Return the provenance of a model (slsa.dev/spec/v1.0/provenance), read from its document alone.

    The run is named by the model: the same training gives the same document, so it is the same run.
    """
    document = json.loads(artefact.content)
    used = [_used("training data", parse_digest(document["training"]["data_digest"], field="data_digest"))]
    if artefact.parent_id is not None:
        parent = parse_digest(artefact.parent_id, field="parent_id")
        used.append(_used(path_of(parent), parent))
    return Statement(
        (Subject.of(path_of(artefact.model_id), artefact.model_id),),
        PREDICATE_TYPE,
        {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"asOf": document["as_of"]},
                "resolvedDependencies": used,
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"mc-pipelines": document["code_version"]}},
                "metadata": {"invocationId": artefact.model_id},
            },
        },
    )


def signed_lineage(store: Models, artefact: Artefact, signer: Signer) -> bytes:
    """Return the signed provenance of a model in a DSSE envelope; the first one that was signed stands.

    ECDSA signatures differ each time, and a receipt is named by its bytes: signed anew it would be a second receipt.
    """
    path = path_of(artefact.model_id).removesuffix(".json") + ".provenance.dsse.json"
    store.put(path, lineage_of(artefact).sign([signer]).to_json(), if_absent=True)
    return store.get(path)


def _used(name: str, digest: Digest) -> dict[str, Any]:
    algorithm, _, value = digest.partition(":")
    return {"name": name, "digest": {algorithm: value}}
