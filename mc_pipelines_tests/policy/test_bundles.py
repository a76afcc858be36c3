"""Bundles: the same bytes everywhere, real to OPA, and refused when tampered with."""

import gzip
import io
import json
import shutil
import subprocess
import tarfile

import pytest

from mc_pipelines.decision.packs import load_pack
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.errors import InputError, MaestroError, VerificationError
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.policy.bundles import build_bundle, bundle_path, load_bundle, open_bundle, store_bundle


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_built_twice_is_the_same_and_opens_to_the_same_pack():
    pack = load_pack("placement")
    bundle = build_bundle(pack)
    assert build_bundle(load_pack("placement")) == bundle
    assert bundle.digest == sha256_digest(bundle.content)
    assert set(members(bundle.content)) == {"/.manifest", "/placement/data.json", "/placement/placement.rego"}
    opened = open_bundle(bundle.content)
    assert (opened.revision, opened.modules, opened.data) == (pack.revision, pack.modules, pack.data)
    assert bundle.content[4:10] == bytes([0, 0, 0, 0, 2, 255]), "no time, no operating system"


def test_a_changed_file_is_not_of_the_revision():
    files = members(build_bundle(load_pack("storage")).content)
    files["/storage/data.json"] = files["/storage/data.json"].replace(b"true", b"false")
    with pytest.raises(VerificationError, match="not of its revision"):
        open_bundle(packed(files))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"no tar at all"),
        packed({}),
        packed({"/.manifest": b"{"}),
        packed({"/.manifest": b"[]"}),
        packed({"/.manifest": b'{"roots": ["a"], "revision": "r"}', "/../b.rego": b""}),
        packed({"/.manifest": b'{"roots": ["a"], "revision": "r"}', "/b/b.rego": b"package b"}),
        packed({"/.manifest": b'{"roots": [".*"], "revision": "r"}', "/b/b.rego": b"package b"}),
        gzip.compress(bytes(9_000_000)),
    ],
)
def test_what_is_no_bundle(content):
    with pytest.raises(InputError):
        open_bundle(content)


def test_truncated_anywhere_is_refused():
    content = build_bundle(load_pack("storage")).content
    for length in range(0, len(content) - 1, 97):
        with pytest.raises(MaestroError):
            open_bundle(content[:length])


def test_stored_once_under_the_revision(tmp_path):
    store = open_object_store(tmp_path.as_uri())
    bundle = build_bundle(load_pack("access"))
    assert store_bundle(store, bundle) == store_bundle(store, bundle) == bundle_path("access", bundle.revision)
    assert load_bundle(store, "access", bundle.revision).revision == bundle.revision
    other = build_bundle(load_pack("storage"))
    store.put(bundle_path("access", other.revision), bundle.content)
    with pytest.raises(VerificationError, match="another revision"):
        load_bundle(store, "access", other.revision)


@pytest.mark.tools
def test_a_real_opa_loads_the_bundle(tmp_path):
    opa = shutil.which("opa")
    assert opa is not None, "run `make tools`"
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(build_bundle(load_pack("storage")).content)
    (tmp_path / "input.json").write_text(json.dumps({"kind": "facts"}))
    command = [
        opa,
        "eval",
        "-b",
        str(path),
        "-i",
        str(tmp_path / "input.json"),
        "--format",
        "raw",
        "data.storage.allow",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "true"
