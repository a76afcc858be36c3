"""The keyring file: its permissions, its optional passphrase, and replacing it so that a crash leaves old or new."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mc_pipelines.foundation.canonical import canonical_json, parse_json
from mc_pipelines.foundation.errors import ConfigurationError, UnavailableError, VerificationError

FORMAT = "mc-keyring/1"
_SCRYPT = {"n": 2**15, "r": 8, "p": 1}
"""RFC 7914 cost: 32 MiB and some 0.1 s for each guess."""
_SALT_BYTES, _NONCE_BYTES = 16, 12


class KeyringFile:
    """One JSON file that only its owner may read.

    Without a passphrase the keys stand in it readable for its owner: file mode 0600 is what seals them, and the
    file's digest finds damage, not malice. With a passphrase they are encrypted with AES-256-GCM under a key that
    scrypt derives from it.
    """

    def __init__(self, path: Path, passphrase: bytes | None, random: Callable[[int], bytes]) -> None:
        self.path = path
        self._passphrase = passphrase
        self._random = random
        self._derived: tuple[bytes, bytes] | None = None

    @property
    def sealed_by(self) -> str:
        """What protects the keys, in words for people."""
        mode = "file mode 0600"
        return mode if self._passphrase is None else f"{mode} and a passphrase (scrypt, AES-256-GCM)"

    def stamp(self) -> tuple[int, int, int] | None:
        """Return what changes when the file is replaced, or None where there is none."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return None
        self._refuse_link(found)
        self._refuse_open_mode(found)
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> dict[str, Any] | None:
        """Return the document, or None where there is no file.

        Raises:
            ConfigurationError: it is a link, others may read the file, or the passphrase is missing.
            VerificationError: the file is damaged, or the passphrase is another one.
        """
        if self.stamp() is None:
            return None
        document = parse_json(self.path.read_bytes(), what=f"keyring {self.path}")
        if not isinstance(document, dict) or document.get("format") != FORMAT or "body" not in document:
            raise VerificationError("Not a keyring of this product", field="keyring", value=str(self.path))
        body = base64.b64decode(document["body"])
        if "scrypt" in document:
            body = self._decrypt(document["scrypt"], body)
        elif document.get("sha256") != sha256(body).hexdigest():
            raise self._damaged("its digest does not match")
        return dict(json.loads(body))

    def write(self, document: dict[str, Any]) -> None:
        """Replace the file in one step; a crash leaves the old or the new one, and a success survives a crash.

        Raises:
            UnavailableError: the folder cannot be written or is full; the old file stands.
        """
        body = canonical_json(document)
        outer: dict[str, Any] = {"format": FORMAT, "sealed_by": self.sealed_by}
        if self._passphrase is None:
            outer |= {"sha256": sha256(body).hexdigest(), "body": base64.b64encode(body).decode()}
        else:
            if self._derived is None:
                salt = self._random(_SALT_BYTES)
                self._derived = salt, _derive(self._passphrase, salt)
            nonce = self._random(_NONCE_BYTES)
            sealed = nonce + AESGCM(self._derived[1]).encrypt(nonce, body, FORMAT.encode())
            outer |= {
                "scrypt": {"salt": base64.b64encode(self._derived[0]).decode()},
                "body": base64.b64encode(sealed).decode(),
            }
        try:
            self._replace(json.dumps(outer, indent=1).encode() + b"\n")
        except OSError as error:
            raise UnavailableError(
                f"The keyring cannot be written: {error.strerror}",
                field="keyring",
                value=str(self.path),
                mend="free space, or make the folder writable for this user",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the keyring for one read-change-write, against other processes and threads."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _replace(self, content: bytes) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        with suppress(FileNotFoundError):
            fresh.unlink()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _refuse_link(self, found: os.stat_result) -> None:
        # The next change would replace the link by a file, and two keyrings would grow apart.
        if not stat.S_ISREG(found.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no plain file"
            raise ConfigurationError(
                f"The keyring is {what}",
                field="keyring",
                value=str(self.path),
                mend="put the file itself there, or set MC_HOME to the folder that holds it as keys/keyring",
            )

    def _refuse_open_mode(self, found: os.stat_result) -> None:
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise ConfigurationError(
                "Others than its owner may read or change the keyring",
                field="keyring",
                value=f"{self.path} has mode {mode:04o}",
                mend=f"chmod 600 {self.path}, and rotate its keys if others had the chance to read them",
            )
        if found.st_uid != os.geteuid():
            raise ConfigurationError(
                "The keyring belongs to another user, who may read and change it",
                field="keyring",
                value=f"{self.path} belongs to user {found.st_uid}, this process is user {os.geteuid()}",
                mend="run as its owner, or give it to this user with chown",
            )

    def _decrypt(self, parameters: Any, body: bytes) -> bytes:
        if self._passphrase is None:
            raise ConfigurationError(
                "The keyring is sealed with a passphrase, and none was given", field="keyring", value=str(self.path)
            )
        try:
            salt = base64.b64decode(parameters["salt"])
            if self._derived is None or self._derived[0] != salt:
                self._derived = salt, _derive(self._passphrase, salt)
            return AESGCM(self._derived[1]).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], FORMAT.encode())
        except (InvalidTag, KeyError, TypeError, ValueError) as error:
            raise self._damaged("the passphrase is another one, or the file was altered") from error

    def _damaged(self, why: str) -> VerificationError:
        return VerificationError(
            f"The keyring does not open: {why}", field="keyring", value=str(self.path), mend="restore it from a backup"
        )


def _derive(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(passphrase)
