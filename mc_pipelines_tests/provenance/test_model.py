"""What a document may say, and what no document can say."""

from datetime import UTC, datetime

import msgspec
import pytest

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import (
    digest_id,
    execution_id,
    local_id,
    named_id,
    package_id,
    parse_node_id,
    receipt_id,
)
from mc_pipelines.provenance.model import (
    Alias,
    Claims,
    Edge,
    EdgeType,
    Kind,
    Node,
    Verification,
    VerificationStatus,
    refuse,
    validate,
)

DOCUMENT = sha256_digest(b"document")
BUNDLE = digest_id({"sha256": "ab" * 32})
RECEIPT = receipt_id(b"{}")
CHECK = receipt_id(b"check")
RUN = execution_id("https://ci.example", "42")
NODES = (
    Node(BUNDLE, Kind.BUNDLE),
    Node(RECEIPT, Kind.RECEIPT),
    Node(CHECK, Kind.RECEIPT),
    Node(RUN, Kind.EXECUTION),
)
GOOD = Claims(
    document=DOCUMENT,
    name="a.json",
    format="test",
    nodes=NODES,
    edges=(Edge(RECEIPT, BUNDLE, EdgeType.SIGNS), Edge(RUN, BUNDLE, EdgeType.PRODUCES)),
)


def test_well_formed_claims_pass() -> None:
    assert validate(GOOD) is GOOD
    assert validate(refuse(DOCUMENT, "a.json", "test", "truncated")).refused == "truncated"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"edges": (Edge(CHECK, RECEIPT, EdgeType.VERIFIES),)}, "cannot claim"),
        ({"earned": (Edge(CHECK, RECEIPT, EdgeType.VERIFIES),)}, "Only a verified document"),
        ({"edges": (Edge(BUNDLE, RUN, EdgeType.PRODUCES),)}, "cannot stand before"),
        ({"edges": (Edge(RUN, package_id("pkg:deb/debian/a"), EdgeType.USES),)}, "does not name"),
        ({"nodes": (*NODES, Node(RUN, Kind.PACKAGE))}, "both execution and package"),
        ({"nodes": (*NODES, Node("no scheme", Kind.PACKAGE))}, "Not a node id"),  # type: ignore[arg-type]
        ({"aliases": (Alias(BUNDLE, package_id("pkg:deb/debian/a")),)}, "alias"),
        ({"classification": 4}, "classification"),
        ({"valid_from": datetime(2026, 1, 1)}, "without a zone"),  # noqa: DTZ001 - the naive time is the case
        (
            {"valid_from": datetime(2026, 1, 2, tzinfo=UTC), "valid_to": datetime(2026, 1, 1, tzinfo=UTC)},
            "ends before",
        ),
        ({"document": "sha256:zz"}, "sha256"),
    ],
)
def test_malformed_claims_are_refused_with_one_sentence(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        validate(msgspec.structs.replace(GOOD, **change))


def test_a_verified_document_earns_its_edge() -> None:
    verified = Verification(status=VerificationStatus.VERIFIED, reason="signature and subject hold")
    claims = msgspec.structs.replace(GOOD, earned=(Edge(CHECK, RECEIPT, EdgeType.VERIFIES),), verification=verified)
    assert validate(claims) is claims


def test_ids_are_canonical() -> None:
    assert digest_id({"sha1": "AB" * 20, "sha256": "CD" * 32}) == "sha256:" + "cd" * 32
    assert digest_id({"gce_image_id": "5032148013142424242"}) == "gce_image_id:5032148013142424242"
    assert package_id("pkg:npm/%40angular/core@17.0.0?b=2&a=1") == package_id("pkg:npm/%40angular/core@17.0.0?a=1&b=2")
    assert package_id("pkg:deb/debian/libc6") != package_id("pkg:deb/debian/libc6@2.36")
    assert receipt_id(b"") == "gitoid:blob:sha256:473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
    assert named_id("dataset", "a/b", "c") != named_id("dataset", "a", "b/c")
    assert named_id("dataset", "a", "b@1") != named_id("dataset", "a", "b", "1")
    assert local_id(DOCUMENT, "SPDXRef-1").startswith("local:" + DOCUMENT[7:])


@pytest.mark.parametrize("bad", ["", "plain", "sha256:\x00", "pkg:" + "a" * 5000, "run:\ud800"])
def test_text_that_cannot_name_a_node_is_refused(bad: str) -> None:
    with pytest.raises(InputError):
        parse_node_id(bad)


@pytest.mark.parametrize("digests", [{}, {"sha256": "abc"}, {"sha256": "zz" * 32}, {"x y": "1"}])
def test_broken_digest_sets_are_refused(digests: dict[str, str]) -> None:
    with pytest.raises(InputError):
        digest_id(digests)
