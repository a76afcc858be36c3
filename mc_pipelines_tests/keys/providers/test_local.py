"""The local keyring: sealed by its mode, replaced atomically, the same truth for every process."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from mc_pipelines.attest.signer import thumbprint, verify_signature
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import (
    ConfigurationError,
    ConflictError,
    MaestroError,
    NotFoundError,
    UnavailableError,
    VerificationError,
)
from mc_pipelines.keys.provider import KeyDisabledError, KeyProvider, KeyState, KeyUse
from mc_pipelines.keys.providers.local import LocalKeyring

CONTEXT = {"tenant": "acme", "dek_id": "1", "kind": "receipt", "purpose": "mce1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keyring.json"


@pytest.fixture
def keyring(path: Path, clock: FrozenClock) -> LocalKeyring:
    return LocalKeyring(path, clock=clock)


def test_it_is_a_key_provider(keyring: LocalKeyring) -> None:
    assert isinstance(keyring, KeyProvider)


def test_a_missing_file_is_an_empty_keyring_and_reading_makes_none(keyring: LocalKeyring, path: Path) -> None:
    assert keyring.inventory() == ()
    assert not path.exists()
    with pytest.raises(NotFoundError, match="No such key"):
        keyring.primary("signer")


def test_a_missing_file_whose_keys_are_in_use_is_a_loss_and_nothing_is_made(path: Path) -> None:
    keyring = LocalKeyring(path, expected=lambda: True)
    for act in (keyring.inventory, lambda: keyring.create("signer", KeyUse.SIGN), lambda: keyring.primary("signer")):
        with pytest.raises(ConfigurationError, match="missing") as caught:
            act()
        assert "restore" in str(caught.value.mend)
        assert "MC_HOME" in str(caught.value.mend)
        assert not path.exists()


def test_a_first_keyring_made_by_another_process_meanwhile_is_no_loss(path: Path) -> None:
    def made_meanwhile() -> bool:
        LocalKeyring(path).create("signer", KeyUse.SIGN)
        return True

    assert [one.ref for one in LocalKeyring(path, expected=made_meanwhile).inventory()] == ["local:signer/1"]


def test_a_symbolic_link_is_refused_and_stays(keyring: LocalKeyring, path: Path, tmp_path: Path) -> None:
    keyring.create("signer", KeyUse.SIGN)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    for act in (keyring.inventory, lambda: LocalKeyring(path).create("kek", KeyUse.WRAP)):
        with pytest.raises(ConfigurationError, match="symbolic link"):
            act()
    assert path.is_symlink()
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="symbolic link"):
        LocalKeyring(path).inventory()


def test_only_its_owner_may_read_the_file(keyring: LocalKeyring, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring.create("signer", KeyUse.SIGN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for mode in (0o640, 0o604, 0o620, 0o666):
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            LocalKeyring(path).inventory()
        with pytest.raises(ConfigurationError):
            keyring.primary("signer")
    path.chmod(0o600)
    assert len(LocalKeyring(path).inventory()) == 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(ConfigurationError, match="another user"):
            LocalKeyring(path).inventory()


def test_create_and_rotate_are_idempotent_and_a_new_version_is_not_primary(keyring: LocalKeyring) -> None:
    first = keyring.create("signer", KeyUse.SIGN)
    assert keyring.create("signer", KeyUse.SIGN) == first
    second = keyring.rotate("signer", token="rotation-1")
    assert keyring.rotate("signer", token="rotation-1") == second
    assert [one.ref for one in keyring.inventory()] == ["local:signer/1", "local:signer/2"]
    assert keyring.primary("signer").ref == first.ref
    assert keyring.promote(second.ref).primary
    assert keyring.promote(second.ref).primary
    assert keyring.primary("signer").ref == second.ref
    with pytest.raises(ConflictError):
        keyring.create("signer", KeyUse.WRAP)
    with pytest.raises(NotFoundError):
        keyring.rotate("nobody", token="x")


def test_signatures_verify_with_the_public_key_of_their_version(keyring: LocalKeyring) -> None:
    first = keyring.create("signer", KeyUse.SIGN)
    second = keyring.rotate("signer", token="t")
    for version in (first, second):
        verify_signature(keyring.public_key(version.ref), keyring.sign(version.ref, b"paid"), b"paid")
        assert thumbprint(keyring.public_key(version.ref)) == version.check_value
    with pytest.raises(VerificationError):
        verify_signature(keyring.public_key(first.ref), keyring.sign(second.ref, b"paid"), b"paid")


def test_a_wrapped_key_opens_for_its_context_and_version_only(keyring: LocalKeyring) -> None:
    keyring.create("kek", KeyUse.WRAP)
    wrapped = keyring.wrap("kek", b"k" * 32, CONTEXT)
    assert keyring.unwrap(wrapped.kek_ref, wrapped.wrapped, CONTEXT) == b"k" * 32
    for other in (CONTEXT | {"tenant": "evil"}, CONTEXT | {"kind": "log"}, {**CONTEXT, "more": "x"}):
        with pytest.raises(VerificationError, match="another key or context"):
            keyring.unwrap(wrapped.kek_ref, wrapped.wrapped, other)
    second = keyring.rotate("kek", token="t")
    for ref, content in (
        (second.ref, wrapped.wrapped),
        (wrapped.kek_ref, wrapped.wrapped[:-1]),
        (wrapped.kek_ref, b""),
    ):
        with pytest.raises(VerificationError):
            keyring.unwrap(ref, content, CONTEXT)
    for context in ({}, {"tenant": ""}):
        with pytest.raises(MaestroError, match="context"):
            keyring.wrap("kek", b"k" * 32, context)


def test_a_disabled_version_does_nothing_and_says_so(keyring: LocalKeyring) -> None:
    keyring.create("kek", KeyUse.WRAP)
    wrapped = keyring.wrap("kek", b"k" * 32, CONTEXT)
    with pytest.raises(ConflictError, match="primary"):
        keyring.disable(wrapped.kek_ref)
    keyring.promote(keyring.rotate("kek", token="t").ref)
    before = keyring.generation
    assert keyring.disable(wrapped.kek_ref).state is KeyState.DISABLED
    assert keyring.generation != before
    with pytest.raises(KeyDisabledError):
        keyring.unwrap(wrapped.kek_ref, wrapped.wrapped, CONTEXT)
    with pytest.raises(KeyDisabledError):
        keyring.promote(wrapped.kek_ref)
    keyring.enable(wrapped.kek_ref)
    assert keyring.unwrap(wrapped.kek_ref, wrapped.wrapped, CONTEXT) == b"k" * 32


def test_a_key_does_only_what_it_is_for(keyring: LocalKeyring) -> None:
    signer, kek = keyring.create("signer", KeyUse.SIGN), keyring.create("kek", KeyUse.WRAP)
    with pytest.raises(ConflictError):
        keyring.sign(kek.ref, b"x")
    with pytest.raises(ConflictError):
        keyring.unwrap(signer.ref, b"x" * 60, CONTEXT)
    for ref in ("local:signer/9", "local:signer/0", "aws:signer/1", "nonsense", "local:signer/x"):
        with pytest.raises(NotFoundError):
            keyring.sign(ref, b"x")


def test_every_reader_sees_a_change_at_once(keyring: LocalKeyring, path: Path) -> None:
    keyring.create("signer", KeyUse.SIGN)
    other = LocalKeyring(path)
    assert other.primary("signer").version == 1
    keyring.promote(keyring.rotate("signer", token="t").ref)
    assert other.primary("signer").version == 2
    assert other.generation == keyring.generation


def test_last_use_is_told_to_the_hour_and_changes_no_generation(keyring: LocalKeyring, clock: FrozenClock) -> None:
    ref = keyring.create("signer", KeyUse.SIGN).ref
    generation = keyring.generation
    keyring.sign(ref, b"x")
    first = keyring.primary("signer").last_used
    assert first == clock.now()
    clock.advance(timedelta(minutes=59))
    keyring.sign(ref, b"x")
    assert keyring.primary("signer").last_used == first
    clock.advance(timedelta(minutes=1))
    keyring.sign(ref, b"x")
    assert keyring.primary("signer").last_used == clock.now()
    assert keyring.generation == generation


def test_many_writers_lose_nothing(path: Path) -> None:
    LocalKeyring(path).create("signer", KeyUse.SIGN)

    def rotate(number: int) -> int:
        return LocalKeyring(path).rotate("signer", token=f"t{number % 6}").version

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(rotate, range(12)))
    assert sorted(set(made)) == [2, 3, 4, 5, 6, 7]
    assert len(LocalKeyring(path).inventory()) == 7


@pytest.mark.parametrize("point", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    keyring: LocalKeyring, path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    keyring.create("signer", KeyUse.SIGN)
    before = path.read_bytes()

    def fail(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        if point == "write":
            patched.setattr(os, "open", fail)
        elif point == "fsync":
            patched.setattr(os, "fsync", fail)
        else:
            patched.setattr(Path, "replace", fail)
        with pytest.raises((UnavailableError, OSError), match="No space"):
            keyring.rotate("signer", token="t")
    assert path.read_bytes() == before
    assert len(keyring.inventory()) == 1
    assert keyring.rotate("signer", token="t").version == 2


def test_kill_in_the_middle_of_a_write_leaves_a_whole_keyring(path: Path) -> None:
    LocalKeyring(path).create("signer", KeyUse.SIGN)
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from mc_pipelines.keys.providers.local import LocalKeyring\n"
        "Path.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "LocalKeyring(sys.argv[1]).rotate('signer', token='t')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    assert path.with_name("keyring.json.new").exists()
    assert LocalKeyring(path).rotate("signer", token="t").version == 2


def test_damage_is_found(keyring: LocalKeyring, path: Path) -> None:
    keyring.create("signer", KeyUse.SIGN)
    content = path.read_bytes()
    at = content.index(b'"body"') + 20
    for damaged in (content[: len(content) // 2], content[:at] + b"AAAA" + content[at + 4 :], b"{}", b""):
        path.write_bytes(damaged)
        with pytest.raises(MaestroError):
            LocalKeyring(path).inventory()


def test_a_passphrase_seals_the_file(path: Path) -> None:
    sealed = LocalKeyring(path, passphrase=b"correct horse")
    ref = sealed.create("signer", KeyUse.SIGN).ref
    assert "passphrase" in sealed.sealed_by
    again = LocalKeyring(path, passphrase=b"correct horse")
    verify_signature(sealed.public_key(ref), again.sign(ref, b"x"), b"x")
    assert b"PRIVATE" not in path.read_bytes()
    with pytest.raises(VerificationError, match="passphrase"):
        LocalKeyring(path, passphrase=b"wrong").inventory()
    with pytest.raises(ConfigurationError, match="passphrase"):
        LocalKeyring(path).inventory()
