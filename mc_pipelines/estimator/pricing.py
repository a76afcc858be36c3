"""Price: resource-time times a rate, and the rules of a bill around it.

Kept apart from the model: a change of price must not look like a change of behaviour. Rates are exact
decimals; a bill is rounded once, at its end. An estimate is an expectation, shown to six places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.money import minor_unit_exponent

SHOWN = Decimal("0.000001")
_SECONDS_AN_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True)
class Price:
    """What one core- or node-hour costs, and how it is billed."""

    price_id: str
    currency: str
    hourly: Decimal
    """Per core- or node-hour."""
    spot_hourly: Decimal | None = None
    minimum_seconds: int = 0
    """A run is billed at least so long (wall clock)."""
    increment_seconds: int = 0
    """Billed time is rounded up to whole increments; 0 bills as measured."""
    cloud: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        minor_unit_exponent(self.currency)
        for name in ("hourly", "spot_hourly"):
            rate = getattr(self, name)
            if rate is not None and not (isinstance(rate, Decimal) and rate.is_finite() and rate > 0):
                raise InputError(
                    "A rate is a positive decimal", field=name, value=rate, mend="write it such as 0.05747"
                )

    def rate(self, *, spot: bool = False) -> Decimal:
        """Return the hourly rate.

        Raises:
            InputError: there is no spot rate.
        """
        if not spot:
            return self.hourly
        if self.spot_hourly is None:
            raise InputError("There is no spot price", field="price_id", value=self.price_id, mend="use on demand")
        return self.spot_hourly


@dataclass(frozen=True, slots=True)
class Risk:
    """How runs of a workflow go wrong."""

    failure: float = 0.0
    """P(an attempt fails)."""
    partial: float = 0.0
    """Share of a whole run that a failed attempt costs."""
    retries: int = 0
    """Attempts after the first."""
    preemptions_an_hour: float = 0.0
    """On spot capacity."""


def billed_seconds(runtime: float, price: Price) -> float:
    """Return the wall-clock seconds that are billed for a run of ``runtime`` seconds."""
    billed = max(runtime, float(price.minimum_seconds))
    if price.increment_seconds > 0:
        whole = -(-billed // price.increment_seconds)
        billed = whole * price.increment_seconds
    return billed


def expected_share(risk: Risk) -> float:
    """Return the expected resource-time of a run, all its attempts included, in whole runs.

    With failure probability p, partial share s and at most r retries: the attempts that fail cost s each,
    and the run succeeds within them with probability 1 - p^(r+1).
    """
    p, attempts = min(max(risk.failure, 0.0), 1.0), risk.retries + 1
    failing = sum(p**number for number in range(1, attempts + 1))
    return (1.0 - p**attempts) + failing * risk.partial


def spot_share(runtime: float, risk: Risk) -> float:
    """Return how much longer a run takes on spot capacity: half a run is lost at each preemption."""
    return 1.0 + 0.5 * risk.preemptions_an_hour * runtime / 3600.0


def cost_of(
    resource_seconds: float, resources: float, price: Price, *, risk: Risk | None = None, spot: bool = False
) -> Decimal:
    """Return the expected cost in major units of the price's currency, unrounded.

    Args:
        resource_seconds: of one whole successful attempt.
        resources: allocated cores or nodes.
        price: the rate and its rules.
        risk: of failures and preemptions; None: none.
        spot: on spot capacity.

    Raises:
        InputError: spot is asked and has no price.
    """
    runtime = resource_seconds / resources
    seconds = billed_seconds(runtime, price)
    if risk is not None:
        seconds *= expected_share(risk)
        if spot:
            seconds *= spot_share(runtime, risk)
    return Decimal(repr(seconds * resources)) * price.rate(spot=spot) / _SECONDS_AN_HOUR


def shown(amount: Decimal) -> Decimal:
    """Return an estimate as it is shown and stored: six decimal places, halves up."""
    return amount.quantize(SHOWN, rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Option:
    """One place where a run could go, and what it would cost there."""

    price_id: str
    cloud: str
    region: str
    spot: bool
    currency: str
    cost: Decimal


def what_if(
    resource_seconds: float, resources: float, prices: Mapping[str, Price], *, risk: Risk | None = None
) -> list[Option]:
    """Return the expected cost of a run at every price, on demand and spot, by currency and then cheapest first.

    Moving data out of a region is not in it; the caller shows that as a line of its own.
    """
    options = [
        Option(
            price.price_id,
            price.cloud,
            price.region,
            spot,
            price.currency,
            shown(cost_of(resource_seconds, resources, price, risk=risk, spot=spot)),
        )
        for price in prices.values()
        for spot in (False, True)
        if not spot or price.spot_hourly is not None
    ]
    return sorted(options, key=lambda option: (option.currency, option.cost, option.price_id, option.spot))
