"""What a person signs with on the command line: a key of their own, which never leaves their machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection

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
