"""What a person signs with on the command line: a key of their own, which never leaves their machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mc_pipelines.attest.dsse import Envelope
    from mc_pipelines.attest.signer import Signer
    from mc_pipelines.foundation.tenants import Person

Who = Annotated[str, typer.Option("--as", help="Your person id; `mc people ls` shows it.")]
Key = Annotated[
    str, typer.Option("--key", help="Your private key, file:PATH of a PEM file; it never leaves this machine.")
]


def signing_person(connection: Connection, person_id: str) -> Person:
    """Return the person of ``--as``."""
    from mc_pipelines.foundation.ids import parse_uuid
    from mc_pipelines.foundation.tenants import get_person

    return get_person(connection, parse_uuid(person_id, field="--as"))


def open_signer(uri: str) -> Signer:
    """Return the signer of ``--key``; MC_KEY_PASSWORD opens an encrypted one.

    Raises:
        InputError: there is no such key.
    """
    from mc_pipelines.attest.signer import LocalSigner
    from mc_pipelines.foundation.errors import InputError

    scheme, _, rest = uri.partition(":")
    path = (Path(rest.removeprefix("//")) if scheme == "file" else Path(uri)).expanduser()
    if not path.is_file():
        raise InputError(
            "Not a key that can be opened here", field="--key", value=uri, mend="write file:PATH of a PEM private key"
        )
    password = os.environ.get("MC_KEY_PASSWORD")
    return LocalSigner.from_pem(path.read_bytes(), password=None if password is None else password.encode())


def signed_statement(payload: bytes, key: str | None, envelope: Path | None) -> Envelope:
    """Return a statement signed with ``--key``, or the envelope that was made elsewhere.

    Raises:
        InputError: neither or both were given, or one cannot be read.
    """
    from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, sign
    from mc_pipelines.foundation.errors import InputError

    if (key is None) == (envelope is None):
        raise InputError("Give your key or an envelope", field="--key", mend="--key file:PATH, or --envelope FILE")
    if key is not None:
        return sign(payload, IN_TOTO_PAYLOAD_TYPE, [open_signer(key)])
    try:
        return Envelope.from_json(b"" if envelope is None else envelope.read_bytes())
    except OSError as error:
        raise InputError(
            f"The envelope cannot be read: {error.strerror}", field="--envelope", value=str(envelope)
        ) from error
