"""Signatures on a rollout over HTTP: made elsewhere, of the person whose token asks."""

import base64

import pytest

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.tenants import add_key, find_person
from mc_pipelines_tests.api.conftest import LOCAL_ISSUER, problem
from mc_pipelines_tests.policy.people import Signatory, begin, propose

pytestmark = pytest.mark.database
OLD, NEW = (Digest("sha256:" + digit * 64) for digit in "01")


@pytest.fixture
def people(app, context):
    """Olga (operator) and Sven (security), each with a key."""
    found = {}
    now = context.clock.now()
    with context.database.begin() as connection:
        for subject in ("olga", "sven", "mia"):
            signer = LocalSigner.generate()
            person = find_person(connection, LOCAL_ISSUER, subject)
            add_key(connection, person.person_id, signer.public_key_pem.decode(), now=now)
            found[subject] = Signatory(find_person(connection, LOCAL_ISSUER, subject), signer)
    return found


def test_a_second_person_signs_what_the_api_shows(client, bearer, context, people):
    now = context.clock.now()
    with context.database.begin() as connection:
        rollout = begin(connection, people["olga"], propose(OLD, NEW, now=now), now=now)
    url = f"/api/policy/rollout/{rollout.rollout_id}"
    shown = client.get(url, headers=bearer("sven")).json()
    payload = base64.b64decode(shown["payload"])

    def ask(who, envelope: Envelope):
        return client.post(f"{url}/approve", json={"envelope": envelope.to_document()}, headers=bearer(who))

    mine = {who: sign(payload, IN_TOTO_PAYLOAD_TYPE, [one.signer]) for who, one in people.items()}
    problem(ask("mia", mine["mia"]), 403, "forbidden")
    problem(ask("sven", mine["olga"]), 403, "forbidden")
    other = sign(payload.replace(b'"all"', b'"any"'), IN_TOTO_PAYLOAD_TYPE, [people["sven"].signer])
    assert ask("sven", other).status_code == 422
    first = ask("sven", mine["sven"])
    assert (first.status_code, first.json()["signatures"], first.json()["missing"]) == (200, 2, None)
    assert ask("sven", mine["sven"]).json() == first.json()
    assert client.post(f"{url}/approve", json={"envelope": {}}, headers=bearer("sven")).status_code in {400, 422}
    assert client.get(url, headers=bearer("sven")).json()["gate"]["decision"] == "hold"
