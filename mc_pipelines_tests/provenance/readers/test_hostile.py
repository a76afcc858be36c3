from __future__ import annotations

import base64
import gzip
import io
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.model import Kind, validate
from mc_pipelines.provenance.readers import read_document
from mc_pipelines.provenance.readers.dagster_event import EVENT_TYPE
from mc_pipelines.provenance.readers.parsing import decode_base64
from mc_pipelines_tests.provenance.readers.documents import SLSA_1, A, bom, dump, envelope, slsa_1, statement
from mc_pipelines_tests.provenance.readers.test_openlineage import event
from mc_pipelines_tests.provenance.readers.test_spdx import spdx_2, spdx_3

GOOD = (dump(bom()), statement(SLSA_1, slsa_1()), envelope(statement(SLSA_1, slsa_1())))


def zipped(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("sbom.json", content)
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (gzip.compress(GOOD[0]), "gzip"),
        (zipped(GOOD[0]), "ZIP"),
        (b"\x28\xb5\x2f\xfd\x00", "Zstandard"),
        (b"BZh91AY", "bzip2"),
        (b"<bom/>", "XML"),
        (b"\xef\xbb\xbf<bom/>", "XML"),
        (b"null", "Not a provenance"),
        (b"3", "Not a provenance"),
        (b"{}", "Not a provenance"),
        (b'{"a": NaN}', "Not valid JSON"),
        (b'{"bomFormat": "CycloneDX"}', "specVersion"),
        (b"{" * 100_000, "JSON|nested"),
        (b'{"components":' * 5_000 + b"1" + b"}" * 5_000, "nested|JSON|Not a provenance"),
        (b"\xff\xfe\x00", "byte order mark"),
    ],
)
def test_refused_with_a_reason(content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_document(content, "sbom.json")


@pytest.mark.parametrize("document", range(len(GOOD)))
def test_every_truncation_is_refused(document: int) -> None:
    content = GOOD[document]
    for end in range(len(content)):
        with pytest.raises(InputError):
            read_document(content[:end], "x")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(GOOD), st.integers(min_value=0), st.binary(min_size=1, max_size=4))
def test_a_damaged_document_is_read_or_refused_never_a_crash(content: bytes, place: int, patch: bytes) -> None:
    at = place % len(content)
    try:
        claims = read_document(content[:at] + patch + content[at + len(patch) :], "x")
    except InputError:
        return
    validate(claims)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["components", "dependencies", "metadata", "services", "formulation", "version"]), JSON)
def test_any_json_in_any_member(member: str, value: object) -> None:
    with suppress(InputError):
        validate(read_document(dump(bom(**{member: value})), "x"))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["buildDefinition", "runDetails"]), JSON)
def test_any_json_in_any_member_of_a_predicate(member: str, value: object) -> None:
    with suppress(InputError):
        validate(read_document(statement(SLSA_1, slsa_1(**{member: value})), "x"))


EVENT = {"dagsterEvent": EVENT_TYPE, "issuer": "lab", "asset": "a", "event": 1, "runId": "r"}
OTHERS = {
    "spdx-2": (spdx_2(), ("packages", "files", "relationships", "documentDescribes", "creationInfo", "name")),
    "openlineage": (event(), ("run", "job", "inputs", "outputs", "eventTime", "eventType", "dataset", "producer")),
    "dagster": (EVENT, ("asset", "event", "runId", "stepKey", "partition", "dataVersion", "inputs", "timestamp")),
}


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(sorted(OTHERS)), JSON)
def test_any_json_in_any_member_of_the_other_formats(data: st.DataObject, format_: str, value: object) -> None:
    document, members = OTHERS[format_]
    member = data.draw(st.sampled_from(members))
    with suppress(InputError):
        validate(read_document(dump({**document, member: value}), "x"))


ELEMENT = st.sampled_from(["type", "spdxId", "name", "rootElement", "from", "to", "relationshipType", "verifiedUsing"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(ELEMENT, JSON, max_size=5))
def test_any_element_of_spdx_3(element: dict[str, object]) -> None:
    with suppress(InputError):
        validate(read_document(dump(spdx_3({"type": "Relationship", **element})), "x"))  # type: ignore[dict-item]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["Package: ", "Version: 1\n", "Depends: a, b\n", " |\n", "\n", "x", ":", "\t", "é"])))
def test_any_package_index(parts: list[str]) -> None:
    for begin in ("Package: a\n", "package\tversion\tarchitecture\n"):
        with suppress(InputError):
            validate(read_document((begin + "".join(parts)).encode(), "x"))


def test_duplicate_kinds_in_one_document_stay_consistent() -> None:
    """The same digest as subject, material and attested receipt: one node, one kind, no impossible edge."""
    predicate = {"inputAttestations": [{"digest": {"sha256": A}}], "verificationResult": "PASSED"}
    claims = validate(read_document(statement("https://slsa.dev/verification_summary/v1", predicate), "x"))
    assert [one.kind for one in claims.nodes if one.id == f"sha256:{A}"] == [Kind.BUNDLE]
    assert any("both" in sentence for sentence in claims.remarks)


def test_an_alias_cannot_merge_nor_describe() -> None:
    """A forged bill of materials that calls its own content by a known purl adds nothing to that purl."""
    forged = {"type": "library", "bom-ref": "x", "name": "openssl", "purl": "pkg:deb/debian/openssl@3"}
    forged["hashes"] = [{"alg": "SHA-256", "content": A}]  # type: ignore[assignment]
    claims = read_document(dump(bom(components=[forged], dependencies=[{"ref": "x", "dependsOn": ["root"]}])), "x")
    assert not any("pkg:deb/debian/openssl@3" in (one.source, one.target) for one in claims.edges)
    assert next(one for one in claims.nodes if one.id == "pkg:deb/debian/openssl@3").stub


@given(
    st.text('AQgw9+/-_=\\"\n u0022', max_size=12)
    | st.binary(max_size=12).map(lambda raw: base64.b64encode(raw).decode())
)
def test_base64_is_decoded_as_the_standard_library_does(text: str) -> None:
    normal = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        expected = base64.b64decode(normal + "=" * (-len(normal) % 4), validate=True)
    except ValueError:
        expected = None
    assert decode_base64(text) == expected
