"""Ids of nodes: the fast paths name what the slow ones name."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packageurl import PackageURL

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import _PLAIN_PURL, check_node_ids, digest_id, package_id, parse_node_id

PARTS = st.text("aZ9._~-+%@:/?&=# ", max_size=6)


def by_library(purl: str) -> str | None:
    try:
        return PackageURL.from_string(purl).to_string()
    except ValueError:
        return None


@settings(max_examples=400, deadline=None)
@given(st.from_regex(_PLAIN_PURL, fullmatch=True))
@example("pkg:deb/debian/a@1:2%2B3?arch=all&distro=x")
@example("pkg:deb/debian/a@1?distro=x&arch=all")
@example("pkg:deb/debian/a@1?arch=x&arch=y")
@example("pkg:maven/a.b/c:d@1")
@example("pkg:npm/%40scope/a@1.0.0?vcs_url=git%2Bhttps%3A%2F%2Fexample.org%2Fa%20b&checksum=sha1:ab,md5:c")
@example("pkg:deb/debian/a@1.0+dfsg%2b1~%7e?arch=%20")
@example("pkg:deb/debian/a@%20?arch=x%FF")
@example("pkg:generic/a/../b@.")
def test_a_plain_purl_is_named_as_the_library_names_it(purl: str) -> None:
    assert package_id.__wrapped__(purl) == by_library(purl)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["npm", "pypi", "deb", "maven", "oci", "github", "hex", "NPM"]), PARTS, PARTS, PARTS, PARTS)
def test_any_purl_is_named_as_the_library_names_it(kind: str, space: str, name: str, version: str, rest: str) -> None:
    purl = f"pkg:{kind}/{space}/{name}@{version}?{rest}"
    expected = by_library(purl)
    if expected is None:
        with pytest.raises(InputError):
            package_id.__wrapped__(purl)
    else:
        assert package_id.__wrapped__(purl) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=8), st.from_regex(r"[a-z]{1,3}:.{0,4}")), max_size=5))
@example(["a:b\0c:d"])
@example(["a:b", "a" * 5000])
@example([""])
def test_ids_are_checked_together_as_they_are_one_by_one(ids: list[str]) -> None:
    def wrong() -> bool:
        try:
            for each in ids:
                parse_node_id(each)
        except InputError:
            return True
        return False

    if wrong():
        with pytest.raises(InputError):
            check_node_ids(ids)
    else:
        check_node_ids(ids)


def test_digests() -> None:
    lower, upper = "ab" * 32, "AB" * 32
    assert digest_id({"sha256": lower}) == digest_id({"sha256": upper}) == f"sha256:{lower}"
    assert digest_id({"sha1": "ab" * 20, "sha256": lower}) == f"sha256:{lower}"
    for wrong in ({"sha256": "ab"}, {"sha256": lower + "\n"}, {"sha256": "g" * 64}, {}):
        with pytest.raises(InputError):
            digest_id(wrong)
