"""Prices of places: micro-units of a currency per allocated core and hour, and exact charges from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.errors import InputError, NotFoundError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.money import minor_unit_exponent, round_half_up

_MILLISECONDS_PER_HOUR = 3_600_000
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a core costs for an hour in one place.

    Attributes:
        price_id: names the price for ever.
        micro_per_core_hour: 10**-6 of the currency's major unit.
    """

    price_id: str
    currency: str
    micro_per_core_hour: int

    def charge(self, resource_milliseconds: int) -> int:
        """Return the charge in minor units, rounded half up once."""
        exact = Fraction(resource_milliseconds * self.micro_per_core_hour, _MILLISECONDS_PER_HOUR * _MICRO)
        return round_half_up(exact, minor_unit_exponent(self.currency))


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices that placement and charging use; named by its digest in every decision."""

    prices: Mapping[tuple[str, str], Price]

    def __post_init__(self) -> None:
        currencies = {price.currency for price in self.prices.values()}
        if len(currencies) > 1:
            raise InputError(
                "Placement compares prices, so those of one table are in one currency",
                field="currency",
                value=", ".join(sorted(currencies)),
                mend="convert them at the rate of a day, under price ids that name it",
            )

    def of(self, cloud: str, region: str) -> Price:
        """Return the price of a place.

        Raises:
            NotFoundError: there is none; nothing runs where nobody knows what it costs.
        """
        try:
            return self.prices[cloud, region]
        except KeyError as error:
            raise NotFoundError("No price for this place", field="region", value=f"{cloud}/{region}") from error

    @property
    def digest(self) -> Digest:
        """Return the digest of the table."""
        return digest_of(
            {
                f"{cloud}/{region}": [price.price_id, price.currency, price.micro_per_core_hour]
                for (cloud, region), price in self.prices.items()
            }
        )


LOCAL_PRICES = PriceTable({("LOCAL", "local"): Price("local/own-machine/v1", "USD", 0)})
"""The machine itself: nobody bills for it, so it costs nothing and says so."""
