"""Bundles: the same bytes everywhere, real to OPA, and refused when tampered with."""

import base64
import gzip
import io
import json
import shutil
import subprocess
import tarfile

import pytest

from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.decision.packs import load_pack
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.errors import InputError, MaestroError, VerificationError
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.policy.bundle_signature import sign_files
from mc_pipelines.policy.bundles import build_bundle, bundle_path, load_bundle, open_bundle, sign_bundle, store_bundle


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


SIGNER = LocalSigner.generate()
TRUSTED = {SIGNER.key_id: SIGNER.public_key_pem}


def test_stored_once_under_the_revision_and_signed(tmp_path):
    store = open_object_store(tmp_path.as_uri())
    bundle = build_bundle(load_pack("access"))
    path = store_bundle(store, bundle, SIGNER, trusted=TRUSTED)
    assert path == bundle_path("access", bundle.revision)
    first = store.get(path)
    assert store_bundle(store, bundle, SIGNER, trusted=TRUSTED) == path
    assert store.get(path) == first, "signed once"
    assert load_bundle(store, "access", bundle.revision, trusted=TRUSTED).revision == bundle.revision
    other = build_bundle(load_pack("storage"))
    store.put(bundle_path("access", other.revision), first)
    with pytest.raises(VerificationError, match="another revision"):
        load_bundle(store, "access", other.revision, trusted=TRUSTED)


def test_a_bundle_whose_key_is_trusted_no_more_is_refused_and_signed_anew(tmp_path):
    store, fresh = open_object_store(tmp_path.as_uri()), LocalSigner.generate()
    bundle = build_bundle(load_pack("storage"))
    store_bundle(store, bundle, SIGNER, trusted=TRUSTED)
    trusted = {fresh.key_id: fresh.public_key_pem}
    with pytest.raises(VerificationError, match="No trusted key"):
        load_bundle(store, "storage", bundle.revision, trusted=trusted)
    store_bundle(store, bundle, fresh, trusted=trusted)
    assert load_bundle(store, "storage", bundle.revision, trusted=trusted).name == "storage"


def _token(header: dict[str, object], claims: dict[str, object], signature: bytes = b"") -> bytes:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return json.dumps({"signatures": [text]}).encode()


def forgeries() -> list[bytes | None]:
    """Contents of .signatures.json that nobody trusted made over the files of the storage pack."""
    files = {name.lstrip("/"): content for name, content in members(build_bundle(load_pack("storage")).content).items()}
    good = json.loads(sign_files(files, SIGNER))["signatures"][0]
    header, claims, signature = good.split(".")
    listed = json.loads(base64.urlsafe_b64decode(claims + "=="))
    stranger = LocalSigner.generate()
    fewer = dict(list(files.items())[:-1])
    raw = base64.urlsafe_b64decode(signature + "==")
    return [
        None,
        b"",
        b"{}",
        b'{"signatures": []}',
        b'{"signatures": "x"}',
        json.dumps({"signatures": [good, good]}).encode(),
        json.dumps({"signatures": [f"{header}.{claims}"]}).encode(),
        json.dumps({"signatures": [f"{header}.{claims}."]}).encode(),
        _token({"alg": "none", "kid": SIGNER.key_id}, listed),
        _token({"alg": "HS256", "kid": SIGNER.key_id}, listed, raw),
        _token({"alg": "ES256", "kid": SIGNER.key_id}, listed, raw),
        _token([], listed, raw),  # type: ignore[arg-type]
        sign_files(files, stranger),
        sign_files(files, stranger).replace(b"kid", b"kib"),
        sign_files(fewer, SIGNER),
        sign_files(files | {"storage/more.rego": b"package storage"}, SIGNER),
        sign_files(files | {"storage/data.json": b"{}"}, SIGNER),
    ]


@pytest.mark.parametrize("number", range(17))
def test_a_forged_signature_is_refused(number):
    files = members(build_bundle(load_pack("storage")).content)
    forged = forgeries()[number]
    content = packed(files if forged is None else files | {"/.signatures.json": forged})
    with pytest.raises(VerificationError):
        open_bundle(content, trusted=TRUSTED)


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


@pytest.mark.tools
def test_a_real_opa_verifies_the_signature(tmp_path):
    opa = shutil.which("opa")
    assert opa is not None, "run `make tools`"
    (tmp_path / "key.pem").write_bytes(SIGNER.public_key_pem)
    (tmp_path / "input.json").write_text(json.dumps({"kind": "facts"}))
    signed = sign_bundle(build_bundle(load_pack("storage")), SIGNER)
    files = members(signed.content)
    altered = files | {"/storage/data.json": files["/storage/data.json"].replace(b"true", b"false")}
    for content, verifies in (
        (signed.content, True),
        (packed(altered), False),
        (build_bundle(load_pack("storage")).content, False),
    ):
        (tmp_path / "bundle.tar.gz").write_bytes(content)
        command = [
            opa, "run", "--server", "--bundle", str(tmp_path / "bundle.tar.gz"), "--addr", "127.0.0.1:0",
            "--verification-key", str(tmp_path / "key.pem"), "--verification-key-id", SIGNER.key_id,
            "--signing-alg", "ES256", "--log-level", "error",
        ]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            output, _ = server.communicate(timeout=3)
            assert not verifies, output
            assert "signature" in output or "digest" in output
        except subprocess.TimeoutExpired:
            assert verifies, "OPA serves a bundle that nobody signed"
        finally:
            server.kill()
            server.communicate()
