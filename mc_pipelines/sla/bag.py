"""BagIt 1.0 (RFC 8493) bags as one zip file: written the same each time, read with suspicion."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from mc_pipelines.foundation.errors import InputError, VerificationError

DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
INFO = "bag-info.txt"
_MANIFEST, _TAG_MANIFEST = "manifest-sha256.txt", "tagmanifest-sha256.txt"
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
_MAX_FILES = 2000
_MAX_BYTES = 512 * 1024 * 1024
_EXECUTABLE, _PLAIN = 0o100755, 0o100644


def write_bag(payload: Mapping[str, bytes], tags: Mapping[str, bytes], *, info: Mapping[str, str]) -> bytes:
    """Return a zip file that holds a bag; the same content gives the same bytes.

    Args:
        payload: files below ``data/``, by path.
        tags: further files beside the manifests, by path.
        info: lines of ``bag-info.txt``.
    """
    size = sum(len(content) for content in payload.values())
    lines = dict(info) | {"Payload-Oxum": f"{size}.{len(payload)}"}
    data = {f"data/{path}": content for path, content in payload.items()}
    about = {
        "bagit.txt": DECLARATION,
        INFO: "".join(f"{name}: {value}\n" for name, value in lines.items()).encode(),
        _MANIFEST: _manifest(data),
        **tags,
    }
    files = data | about | {_TAG_MANIFEST: _manifest(about)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _FIRST_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (_EXECUTABLE if path.endswith(".sh") else _PLAIN) << 16
            archive.writestr(entry, files[path])
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Bag:
    """What is in a bag.

    Args:
        payload: files below ``data/``, by path.
        tags: ``bag-info.txt`` and the further files beside the manifests, by path.
    """

    payload: dict[str, bytes]
    tags: dict[str, bytes]


def read_bag(content: bytes) -> dict[str, bytes]:
    """Return the payload of a bag, as :func:`open_bag` does."""
    return open_bag(content).payload


def open_bag(content: bytes) -> Bag:
    """Return what is in a bag, after checking every file against the manifests.

    Raises:
        InputError: it is no zip file, or unreasonably large.
        VerificationError: a file is missing, not listed, listed twice, changed or no plain file.
    """
    files = _unzip(content)
    if files.get("bagit.txt") != DECLARATION:
        raise InputError("Not a BagIt 1.0 bag", field="bagit.txt")
    listed = _check(files, _MANIFEST)
    tags = _check(files, _TAG_MANIFEST)
    payload = {path for path in files if path.startswith("data/")}
    if listed != payload:
        raise VerificationError(
            "The manifest does not list exactly the payload",
            field=min(listed ^ payload),
            mend="get the pack again",
        )
    others = set(files) - payload - {_TAG_MANIFEST}
    if tags != others:
        raise VerificationError("The tag manifest does not list exactly the tag files", field=min(tags ^ others))
    about = others - {"bagit.txt", _MANIFEST}
    return Bag(
        {path.removeprefix("data/"): files[path] for path in sorted(payload)},
        {path: files[path] for path in sorted(about)},
    )


def is_bag(content: bytes) -> bool:
    """Tell whether bytes look like a zip file with a bag in it."""
    if not content.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "bagit.txt" in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        # A damaged pack is still ours to report on: attest would call it an unknown kind of file.
        return b"bagit.txt" in content


def _manifest(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)).encode()


def _unzip(content: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_FILES or sum(entry.file_size for entry in entries) > _MAX_BYTES:
                raise InputError("The pack is unreasonably large", field="pack", value=len(entries))
            for entry in entries:
                if entry.filename in found or entry.is_dir():
                    raise VerificationError("A file stands twice in the pack", field=entry.filename)
                if not _is_plain(entry):
                    raise VerificationError("A file of the pack is no plain deflated file", field=entry.filename)
                found[entry.filename] = archive.read(entry)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise VerificationError(f"The pack is damaged: {error}", field="pack") from error
    return found


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    # What unpacks to a link, or with a decoder that we never used, is not ours.
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return kind in {0, stat.S_IFREG} and entry.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def _check(files: Mapping[str, bytes], name: str) -> set[str]:
    if name not in files:
        raise VerificationError("A manifest is missing", field=name)
    listed: set[str] = set()
    for line in files[name].decode("utf-8", errors="replace").splitlines():
        digest, _, path = line.partition("  ")
        if path in listed or path not in files:
            raise VerificationError("A file of the manifest is missing or listed twice", field=path or name)
        if hashlib.sha256(files[path]).hexdigest() != digest:
            raise VerificationError("A file has been changed", field=path, mend="get the pack again")
        listed.add(path)
    return listed
