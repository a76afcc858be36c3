"""Keys of one machine, in a file that only its owner may read; the production profile refuses it.

Wrapping is AES-256-GCM with a random 96-bit nonce and the wrap context as associated data; one version wraps data
keys only, far below the 2**32 wraps that random nonces allow (NIST SP 800-38D section 8.3).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import RLock
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.clock import Clock, SystemClock, parse_utc, rfc3339
from mc_pipelines.foundation.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    UnavailableError,
    VerificationError,
)
from mc_pipelines.foundation.ids import parse_name
from mc_pipelines.keys.envelope import hkdf_sha512
from mc_pipelines.keys.provider import (
    KeyDisabledError,
    KeyState,
    KeyUse,
    KeyVersion,
    ProviderCode,
    WrapContext,
    WrappedKey,
    context_bytes,
)
from mc_pipelines.keys.providers.sealing import KeyringFile

_NONCE_BYTES = 12
_KEK_BYTES = 32
_USE_GRAIN = timedelta(hours=1)
"""How exact ``last_used`` is: finer would write the file at every signature."""


@dataclass
class _Loaded:
    """The document as parsed, and the key objects made of it."""

    stamp: tuple[int, int, int] | None
    document: dict[str, Any]
    signers: dict[str, LocalSigner]
    keks: dict[str, AESGCM]


class LocalKeyring:
    """A key provider in one file; safe for several threads and processes."""

    def __init__(
        self,
        path: Path | str,
        *,
        passphrase: bytes | None = None,
        clock: Clock | None = None,
        random: Callable[[int], bytes] = os.urandom,
        expected: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open the keyring at ``path``; a missing file is an empty keyring.

        Args:
            path: the file.
            passphrase: seals it beyond its file mode.
            clock: dates versions.
            random: source of keys and nonces.
            expected: tells, where the file is missing, whether keys of it are in use; then its absence is a loss
                that no new keyring may cover.
        """
        self._file = KeyringFile(Path(path), passphrase, random)
        self._expected = expected
        self._clock = clock or SystemClock()
        self._random = random
        self._lock = RLock()
        self._loaded = _Loaded(None, _empty(), {}, {})

    @property
    def name(self) -> str:
        """``local``."""
        return "local"

    @property
    def sealed_by(self) -> str:
        """What protects the keys in the file, in words for people."""
        return self._file.sealed_by

    @property
    def generation(self) -> str:
        """The count of changes to any version's existence or state."""
        return str(self._load().document["generation"])

    def create(self, key: str, use: KeyUse) -> KeyVersion:
        """Make a key with one primary version, or return the primary version of the one that is there."""
        parse_name(key, field="key")
        with self._lock, self._file.locked():
            found = self._load().document["keys"].get(key)
            if found is None:
                found = {"use": use.value, "primary": 1, "versions": []}
                self._save(self._with_version(key, found, token="create"))  # noqa: S106 - a name, no secret
            elif found["use"] != use.value:
                raise ConflictError(f"There is a key of this name to {found['use']}", field="key", value=key)
            return self.primary(key)

    def rotate(self, key: str, *, token: str) -> KeyVersion:
        """Add a version that is not primary; the same token returns the same version."""
        with self._lock, self._file.locked():
            found = self._key(key)
            made = next((one for one in found["versions"] if one["token"] == token), None)
            if made is None:
                self._save(self._with_version(key, found, token=token))
                made = self._key(key)["versions"][-1]
            return self._version(key, made["version"])

    def promote(self, ref: str) -> KeyVersion:
        """Make a version the primary one."""
        with self._lock, self._file.locked():
            key, record = self._enabled(ref)
            document = self._load().document
            if document["keys"][key]["primary"] != record["version"]:
                document["keys"][key]["primary"] = record["version"]
                self._save(document)
            return self._version(key, record["version"])

    def disable(self, ref: str) -> KeyVersion:
        """Refuse all further use of a version that is not primary."""
        return self._set_state(ref, KeyState.DISABLED)

    def enable(self, ref: str) -> KeyVersion:
        """Allow a disabled version again."""
        return self._set_state(ref, KeyState.ENABLED)

    def primary(self, key: str) -> KeyVersion:
        """Return the version that new signatures or wraps are made with."""
        return self._version(key, self._key(key)["primary"])

    def wrap(self, key: str, secret: bytes, context: WrapContext) -> WrappedKey:
        """Wrap a data key under the primary version, bound to ``context``."""
        ref = self.primary(key).ref
        nonce = self._random(_NONCE_BYTES)
        wrapped = nonce + self._kek(ref).encrypt(nonce, secret, context_bytes(context))
        return WrappedKey(ProviderCode.LOCAL, ref, wrapped)

    def unwrap(self, ref: str, wrapped: bytes, context: WrapContext) -> bytes:
        """Return the data key."""
        cipher = self._kek(ref)
        try:
            return cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context_bytes(context))
        except (InvalidTag, ValueError) as error:
            raise VerificationError(
                "The wrapped key was altered, or belongs to another key or context", field="kek", value=ref
            ) from error

    def sign(self, ref: str, data: bytes) -> bytes:
        """Return a DER ECDSA P-256 signature over the SHA-256 of ``data``."""
        key, record = self._enabled(ref)
        self._require(key, KeyUse.SIGN, ref)
        self._touch(key, record["version"])
        return self._signer(ref, record).sign(data)

    def public_key(self, ref: str) -> bytes:
        """Return the PEM public key of a signing version, whatever its state."""
        key, record = self._record(ref)
        self._require(key, KeyUse.SIGN, ref)
        return self._signer(ref, record).public_key_pem

    def inventory(self) -> tuple[KeyVersion, ...]:
        """Return every version of every key, by key and version."""
        keys = self._load().document["keys"]
        return tuple(self._version(key, one["version"]) for key in sorted(keys) for one in keys[key]["versions"])

    # The file.

    def _load(self) -> _Loaded:
        with self._lock:
            stamp = self._file.stamp()
            # Looked at twice: another process may make the first keyring, and use it, while we ask.
            if stamp is None and self._expected() and (stamp := self._file.stamp()) is None:
                raise ConfigurationError(
                    "The keyring is missing, and data is encrypted under its keys",
                    field="keyring",
                    value=str(self._file.path),
                    mend="restore the file from a backup, or set MC_HOME to the folder that holds keys/keyring",
                )
            if stamp != self._loaded.stamp:
                self._loaded = _Loaded(stamp, self._file.read() or _empty(), {}, {})
            return self._loaded

    def _save(self, document: dict[str, Any], *, state_changed: bool = True) -> None:
        document["generation"] += state_changed
        try:
            self._file.write(document)
        except BaseException:
            self._loaded = _Loaded((0, 0, 0), _empty(), {}, {})  # what is in memory never was in the file
            raise
        kept = self._loaded
        self._loaded = _Loaded(self._file.stamp(), document, kept.signers, kept.keks)

    def _with_version(self, key: str, record: dict[str, Any], *, token: str) -> dict[str, Any]:
        if record["use"] == KeyUse.SIGN:
            signer = LocalSigner.generate()
            material, check_value = signer.private_key_pem(), str(signer.key_id)
        else:
            material = self._random(_KEK_BYTES)
            check_value = hkdf_sha512(material, salt=b"", info=b"mc key check value", length=8).hex()
        fresh = {
            "version": len(record["versions"]) + 1,
            "state": KeyState.ENABLED.value,
            "created": rfc3339(self._clock.now()),
            "last_used": None,
            "check_value": check_value,
            "token": token,
            "material": base64.b64encode(material).decode(),
        }
        document = self._load().document
        document["keys"][key] = record | {"versions": [*record["versions"], fresh]}
        return document

    def _set_state(self, ref: str, state: KeyState) -> KeyVersion:
        with self._lock, self._file.locked():
            key, record = self._record(ref)
            if state is KeyState.DISABLED and self._key(key)["primary"] == record["version"]:
                raise ConflictError(
                    "The primary version cannot be disabled", field="key", value=ref, mend="promote another one first"
                )
            if record["state"] != state.value:
                record["state"] = state.value
                self._save(self._load().document)
            return self._version(key, record["version"])

    def _touch(self, key: str, version: int) -> None:
        now = self._clock.now()
        if not self._due(self._key(key)["versions"][version - 1], now):
            return
        with self._lock, self._file.locked():
            record = self._key(key)["versions"][version - 1]
            if not self._due(record, now):
                return
            record["last_used"] = rfc3339(now)
            try:
                self._save(self._load().document, state_changed=False)
            except UnavailableError:
                return  # a full disk must not stop signatures; the time of last use is told to the hour anyway

    @staticmethod
    def _due(record: dict[str, Any], now: datetime) -> bool:
        return record["last_used"] is None or now - parse_utc(record["last_used"], field="last_used") >= _USE_GRAIN

    # Versions.

    def _key(self, key: str) -> dict[str, Any]:
        try:
            return dict(self._load().document["keys"][key])
        except KeyError as error:
            raise NotFoundError(
                "No such key in the keyring", field="key", value=key, mend="`mc keys ls` shows all"
            ) from error

    def _record(self, ref: str) -> tuple[str, dict[str, Any]]:
        provider, _, rest = ref.partition(":")
        key, _, number = rest.rpartition("/")
        found = self._load().document["keys"].get(key, {"versions": []})["versions"]
        if provider != self.name or not number.isdecimal() or not 0 < int(number) <= len(found):
            raise NotFoundError(
                "No such key version in the keyring", field="key", value=ref, mend="`mc keys ls` shows all"
            )
        return key, found[int(number) - 1]

    def _enabled(self, ref: str) -> tuple[str, dict[str, Any]]:
        key, record = self._record(ref)
        if record["state"] != KeyState.ENABLED.value:
            raise KeyDisabledError("This version is disabled", field="key", value=ref)
        return key, record

    def _require(self, key: str, use: KeyUse, ref: str) -> None:
        if self._key(key)["use"] != use.value:
            raise ConflictError(f"This key is not for this: it may {self._key(key)['use']}", field="key", value=ref)

    def _version(self, key: str, number: int) -> KeyVersion:
        record = self._key(key)
        one = record["versions"][number - 1]
        return KeyVersion(
            ref=f"{self.name}:{key}/{number}",
            provider=self.name,
            key=key,
            version=number,
            use=KeyUse(record["use"]),
            state=KeyState(one["state"]),
            primary=record["primary"] == number,
            created=parse_utc(one["created"], field="created"),
            last_used=None if one["last_used"] is None else parse_utc(one["last_used"], field="last_used"),
            check_value=one["check_value"],
            token=one["token"],
        )

    def _signer(self, ref: str, record: dict[str, Any]) -> LocalSigner:
        loaded = self._load()
        if ref not in loaded.signers:
            loaded.signers[ref] = LocalSigner.from_pem(base64.b64decode(record["material"]))
        return loaded.signers[ref]

    def _kek(self, ref: str) -> AESGCM:
        key, record = self._enabled(ref)
        self._require(key, KeyUse.WRAP, ref)
        self._touch(key, record["version"])
        loaded = self._load()
        if ref not in loaded.keks:
            loaded.keks[ref] = AESGCM(base64.b64decode(record["material"]))
        return loaded.keks[ref]


def _empty() -> dict[str, Any]:
    return {"generation": 0, "keys": {}}
