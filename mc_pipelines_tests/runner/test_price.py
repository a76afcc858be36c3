"""Prices: exact charges, one currency a table."""

import pytest

from mc_pipelines.foundation.errors import InputError, NotFoundError
from mc_pipelines.runner.price import Price, PriceTable


def test_prices_that_are_compared_are_in_one_currency():
    cny, usd = Price("cn/1", "CNY", 300_000), Price("us/1", "USD", 48_000)
    with pytest.raises(InputError, match="one currency") as refused:
        PriceTable({("AWS", "cn-north-1"): cny, ("AWS", "us-east-1"): usd})
    assert refused.value.value == "CNY, USD"


def test_a_place_without_a_price_runs_nothing():
    with pytest.raises(NotFoundError, match="No price"):
        PriceTable({}).of("AWS", "us-east-1")


def test_a_charge_is_rounded_once():
    price = Price("us/1", "USD", 48_000)
    assert [price.charge(milliseconds) for milliseconds in (0, 374_999, 375_000, 3_600_000)] == [0, 0, 1, 5]
