"""`mc people`: roles and public keys of people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from mc_pipelines.foundation.tenants import Person

app = typer.Typer(help="People: roles and public keys.", no_args_is_help=True)
Issuer = Annotated[str, typer.Option(help="Issuer of the person's tokens.")]
Subject = Annotated[str, typer.Option(help="Subject of the person's tokens.")]


@app.command("ls")
def list_all(as_json: Json = False) -> None:
    """List all people.

    Example: mc people ls
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.tenants import list_people

    with open_context().database.begin() as connection:
        people = list_people(connection)
    if as_json:
        print_json([_document(person) for person in people])
    else:
        print_table(
            ("id", "name", "issuer", "subject", "roles", "keys"),
            [
                (p.person_id, p.name, p.issuer, p.subject, ", ".join(sorted(p.roles)), len(p.public_keys))
                for p in people
            ],
        )


@app.command()
def show(person: Annotated[str, typer.Argument(help="Id of the person.")], as_json: Json = False) -> None:
    """Show one person with the keys that are valid now.

    Example: mc people show 019bd5a1-0000-7000-8000-000000000001
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import parse_uuid
    from mc_pipelines.foundation.tenants import get_person

    with open_context().database.begin() as connection:
        document = _document(get_person(connection, parse_uuid(person, field="person")))
    print_json(document) if as_json else print_table(("person", ""), document.items())


@app.command()
def put(
    issuer: Issuer,
    subject: Subject,
    name: Annotated[str, typer.Option(help="Name that reports show.")],
    role: Annotated[list[str] | None, typer.Option(help="Role; repeatable. Replaces the roles recorded.")] = None,
    as_json: Json = False,
) -> None:
    """Record a person, or change name and roles; an act of the audit log.

    Example: mc people put --issuer https://idp.example --subject 42 --name "Ada" --role finance-maker
    """
    from mc_pipelines.attest.log import append
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.canonical import canonical_json
    from mc_pipelines.foundation.clock import rfc3339
    from mc_pipelines.foundation.ids import PersonId, uuid7
    from mc_pipelines.foundation.tenants import Person, find_person, put_person

    context = open_context()
    now = context.clock.now()
    with context.database.begin() as connection:
        known = find_person(connection, issuer, subject)
        person_id = known.person_id if known else PersonId(uuid7(now))
        wanted = Person(person_id, issuer, subject, name, frozenset(role or ()), known.public_keys if known else ())
        changed = wanted != known
        if changed:
            put_person(connection, wanted, now=now)
            act = {"person": str(person_id), "roles": sorted(wanted.roles), "at": rfc3339(now)}
            append(connection, act="people.put", subject=str(person_id), content=canonical_json(act), at=now)
    if as_json:
        print_json(_document(wanted) | {"changed": changed})
    else:
        print(f"{person_id} {'recorded' if changed else 'is recorded so already'}")


@app.command("add-key")
def add_public_key(
    issuer: Issuer,
    subject: Subject,
    file: Annotated[Path, typer.Argument(help="PEM file of a P-256 public key.")],
    as_json: Json = False,
) -> None:
    """Register a public key of a person; a key belongs to one person for ever.

    Example: mc people add-key --issuer https://idp.example --subject 42 ada.pub.pem
    """
    from mc_pipelines.attest.log import append
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.canonical import canonical_json
    from mc_pipelines.foundation.errors import InputError, NotFoundError
    from mc_pipelines.foundation.tenants import add_key, find_person

    try:
        pem = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "The key file cannot be read", field="file", value=str(file), mend="give a PEM file"
        ) from error
    context = open_context()
    now = context.clock.now()
    with context.database.begin() as connection:
        person = find_person(connection, issuer, subject)
        if person is None:
            raise NotFoundError("There is no such person", field="subject", value=subject, mend="`mc people put` first")
        key_id = add_key(connection, person.person_id, pem, now=now)
        act = {"person": str(person.person_id), "key": key_id}
        append(connection, act="people.add-key", subject=str(person.person_id), content=canonical_json(act), at=now)
    print_json(act) if as_json else print(f"{key_id} belongs to {person.name}")


def _document(person: Person) -> dict[str, Any]:
    from mc_pipelines.foundation.public_keys import normalised_public_key

    return {
        "person_id": person.person_id,
        "name": person.name,
        "issuer": person.issuer,
        "subject": person.subject,
        "roles": sorted(person.roles),
        "keys": [normalised_public_key(pem)[0] for pem in person.public_keys],
    }
