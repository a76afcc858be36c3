from __future__ import annotations

import lzma

import pytest

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.readers import read_document
from mc_pipelines.provenance.readers.debian import first_alternatives
from mc_pipelines_tests.provenance.readers.documents import A, B

INDEX = f"""\
Package: app
Version: 1:2.0-1
Architecture: amd64
Depends: libc6 (>= 2.34), java7 | java8,
 python3:any
Pre-Depends: dpkg
SHA256: {A}
Description: a field
 of several lines
  libc6: not a field

Package: libc6
Version: 2.36
Architecture: amd64
SHA256: {B}

Package: libc6
Version: 2.37
Architecture: amd64
"""


def test_stanzas() -> None:
    claims = read_document(INDEX.encode(), "Packages")
    found = {(one.source, one.target) for one in claims.edges if one.source != claims.document}
    assert found == {
        (f"sha256:{A}", target)
        for target in (
            f"sha256:{B}",
            "pkg:deb/debian/libc6@2.37?arch=amd64",
            "pkg:deb/debian/java7",
            "pkg:deb/debian/python3",
            "pkg:deb/debian/dpkg",
        )
    }
    assert (f"sha256:{A}", "pkg:deb/debian/app@1:2.0-1?arch=amd64") in {
        (one.first, one.second) for one in claims.aliases
    }
    assert len([one for one in claims.edges if one.source == claims.document]) == 3


def test_dependency_fields() -> None:
    text = "a (>= 1) | b, c:any [amd64], d <!nocheck>, , e|f"
    assert list(first_alternatives(text)) == ["a", "c", "d", "e"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (INDEX.encode()[:-1], "cut off"),
        (b"Package: app\nnonsense\n", "line 2"),
        (b"Package: app\n\n", "name and a version"),
        (b"package\tversion\tarchitecture\napp\t1\tamd64", "cut off"),
        (b"package\tversion\tarchitecture\napp\t1\n", "line 2"),
        (b"Package: app\xff\n", "UTF-8"),
        (lzma.compress(INDEX.encode())[:-20], "cut off|damaged"),
        (lzma.compress(b'{"bomFormat": "CycloneDX"}'), "packed with xz"),
        (b"\xfd7zXZ\x00garbage", "damaged|cut off"),
    ],
)
def test_refused_with_a_reason(content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_document(content, "Packages")


def test_a_small_stream_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mc_pipelines.provenance.readers.debian.MAXIMUM_DOCUMENT_BYTES", 1_000_000)
    with pytest.raises(InputError, match=r"at most|damaged"):
        read_document(lzma.compress(b"\0" * 5_000_000, preset=1), "bomb.xz")
