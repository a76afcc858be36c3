"""Properties of money, ids and canonical JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.foundation.canonical import canonical_json, digest_of, is_canonical, parse_json
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import parse_digest, parse_name, uuid7
from mc_pipelines.foundation.money import Money, minor_unit_exponent, round_half_up

MINOR = st.integers(-(10**15), 10**15)
CURRENCY = st.sampled_from(["EUR", "USD", "JPY", "BHD"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(MINOR, CURRENCY)
def test_an_amount_and_its_minor_units_are_the_same(minor: int, currency: str) -> None:
    money = Money(currency, minor)
    assert Money.of(money.amount, currency) == money
    assert Money.of(str(money.amount), currency) == money


@pytest.mark.parametrize("minor", [10**29 + 1, -(10**40) - 7, 10**28 - 1])
def test_an_amount_longer_than_decimals_context_keeps_every_digit(minor: int) -> None:
    money = Money("USD", minor)
    assert Fraction(money.amount) == Fraction(minor, 100)
    assert money.amount.as_tuple().exponent == -2
    assert Money.of(money.amount, "USD") == money


@given(MINOR, MINOR, CURRENCY)
def test_sums_are_exact(one: int, two: int, currency: str) -> None:
    assert (Money(currency, one) + Money(currency, two)).minor == one + two
    assert Money(currency, one) - Money(currency, two) == Money(currency, one) + -Money(currency, two)


@given(st.fractions(), st.integers(0, 3))
def test_rounding_is_half_away_from_zero_and_never_off_by_more_than_half(value: Fraction, exponent: int) -> None:
    rounded = round_half_up(value, exponent)
    error = abs(value * 10**exponent - rounded)
    assert error <= Fraction(1, 2)
    assert error < Fraction(1, 2) or abs(rounded) > abs(value * 10**exponent)
    assert round_half_up(-value, exponent) == -rounded


@pytest.mark.parametrize("amount", [0.1, float("nan"), True, "NaN", "Infinity", "12,40", "", None])
def test_what_is_no_exact_amount_is_refused(amount: object) -> None:
    with pytest.raises(InputError):
        Money.of(amount, "EUR")  # type: ignore[arg-type]


def test_two_currencies_do_not_add() -> None:
    with pytest.raises(InputError, match="do not add"):
        Money("EUR", 1) + Money("USD", 1)


@pytest.mark.parametrize(("currency", "exponent"), [("EUR", 2), ("JPY", 0), ("BHD", 3)])
def test_minor_units_of_iso_4217(currency: str, exponent: int) -> None:
    assert minor_unit_exponent(currency) == exponent


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)), st.binary(min_size=10, max_size=10))  # noqa: DTZ001
def test_a_uuid7_carries_version_variant_and_milliseconds(moment: datetime, noise: bytes) -> None:
    at = moment.replace(tzinfo=UTC)
    made = uuid7(at, lambda count: noise[:count])
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert abs(timedelta(milliseconds=made.int >> 80) - (at - datetime(1970, 1, 1, tzinfo=UTC))) <= timedelta(
        milliseconds=1
    )


@given(st.text(max_size=70))
def test_a_name_that_is_accepted_is_safe_in_paths_and_keys(text: str) -> None:
    try:
        name = parse_name(text, field="tenant")
    except InputError:
        return
    assert name == name.lower()
    assert not set(name) & set("/*:% \\\0")
    assert name not in {".", ".."}


@given(JSON)
def test_canonical_json_means_the_same_and_is_its_own_canonical_form(value: object) -> None:
    content = canonical_json(value)
    assert json.loads(content) == value
    assert is_canonical(content)
    assert parse_digest(digest_of(value), field="digest") == digest_of(json.loads(content))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, Decimal("1.5"), {1: 2}, {"a": b"x"}])
def test_what_json_cannot_carry_exactly_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        canonical_json(value)


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":2}', "NaN", "[1,]", '"\udcff"'.encode("utf-8", "surrogatepass"), "[" * 9999]
)
def test_text_that_is_not_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(InputError, match="not valid JSON"):
        parse_json(text)
