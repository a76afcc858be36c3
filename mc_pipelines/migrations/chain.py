"""The order of the revisions.

Until 0.8.0 is released each capability keeps its whole schema in its one revision below; after the
release a change is a new revision at the end.
"""

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
