from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.executions.manifest import manifest_of, parse_manifest
from mc_pipelines.foundation.errors import InputError

DIGEST = "sha256:" + "a" * 64


def document(**changes: Any) -> dict[str, Any]:
    return {"tenant": "acme", "workflow": "nightly", "argv": ["/bin/true"]} | changes


def test_defaults_are_strict() -> None:
    manifest = manifest_of(document())
    assert manifest.needs.read_only_root is True
    assert manifest.needs.egress == "none"
    assert manifest.digest == parse_manifest(json.dumps(manifest.document()).encode()).digest


@pytest.mark.parametrize(("amount", "currency"), [("2", "JPY"), ("2.0", "JPY"), ("1.005", "BHD"), ("0.10", "USD")])
def test_a_budget_in_whole_minor_units_is_taken(amount: str, currency: str) -> None:
    budget = manifest_of(document(budget={"amount": amount, "currency": currency})).budget
    assert budget is not None
    assert (budget.amount, budget.currency) == (amount, currency)


def test_the_digest_names_content_not_spelling() -> None:
    one = parse_manifest(json.dumps(document(deadline="2026-01-19T10:00:00Z")).encode())
    same = parse_manifest(json.dumps(document(deadline="2026-01-19T11:00:00+01:00"), indent=2).encode())
    assert one.digest == same.digest
    assert one.digest != manifest_of(document(deadline="2026-01-19T10:00:01Z")).digest


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"surplus": 1}, "surplus", "Not a field"),
        ({"needs": {"readonly": True}}, "needs.readonly", "Not a field"),
        ({"image": {"name": "x", "digest": "latest"}}, "image.digest", "pattern"),
        ({"inputs": [{"path": "a", "digest": "sha256:AB"}]}, "inputs.0.digest", "pattern"),
        ({"inputs": [{"path": "../a", "digest": DIGEST}]}, "inputs.0.path", "relative"),
        ({"inputs": [{"path": "/etc/passwd", "digest": DIGEST}]}, "inputs.0.path", "relative"),
        ({"budget": {"amount": 12.4, "currency": "USD"}}, "budget.amount", "never a float"),
        ({"budget": {"amount": "12.4", "currency": "XXX"}}, "budget.currency", "currency"),
        ({"budget": {"amount": "1.5", "currency": "JPY"}}, "budget.amount", "JPY has 0 decimal places: write 2"),
        ({"budget": {"amount": "1.005", "currency": "USD"}}, "budget.amount", "2 decimal places"),
        ({"deadline": "2026-01-19T10:00:00"}, "deadline", "without a zone"),
        ({"deadline": "soon"}, "deadline", "datetime"),
        ({"deadline": "1900000000"}, "deadline", "RFC 3339"),
        ({"deadline": "9999-12-31T23:59:59-12:00"}, "deadline", "years 1 to 9999"),
        ({"inputs": [{"path": "a", "digest": DIGEST}] * 2}, "inputs", "once"),
        ({"inputs": [{"path": name, "digest": DIGEST} for name in ("a/b/c", "a")]}, "inputs", "folder of a/b/c"),
        ({"argv": ["echo", "x" * 131_072]}, "argv", "131,071 bytes"),
        ({"environment": {"A": "x" * 131_070}}, "environment", "131,071 bytes"),
        ({"idempotency_key": "a\0"}, "idempotency_key", "zero byte"),
        ({"residency": ["EU\0"]}, "residency.0", "zero byte"),
        ({"image": {"name": "a\0", "digest": DIGEST}}, "image.name", "zero byte"),
        ({"argv": []}, "argv", "at least 1"),
        ({"argv": "/bin/true"}, "argv", "array"),
        ({"argv": ["a\0b"]}, "argv", "zero byte"),
        ({"environment": {"A B": "c"}}, "environment", "variable"),
        ({"resources": {"cpu_millis": 0.5}}, "resources.cpu_millis", "integer"),
        ({"resources": {"cpu_millis": "500"}}, "resources.cpu_millis", "integer"),
        ({"resources": {"wall_seconds": 0}}, "resources.wall_seconds", "greater"),
        ({"tenant": "Acme Corp"}, "tenant", "pattern"),
        ({"residency": []}, "residency", "at least 1"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_manifest(json.dumps(document(**change)).encode())
    assert raised.value.field == field
    assert words.lower() in raised.value.detail.lower()
    assert raised.value.mend


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"tenant": "a", "tenant": "b"}', b"\xff", b"x" * 300_000])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        parse_manifest(content)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False), st.lists))
def test_any_value_anywhere_is_taken_or_refused_in_one_sentence(value: object) -> None:
    for name in ("tenant", "argv", "resources", "budget", "deadline", "inputs", "environment"):
        try:
            manifest_of(document(**{name: value}))
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
