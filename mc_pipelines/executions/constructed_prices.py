"""The price table of constructed facts: our own round figures, not any cloud's list prices.

Unit: micro-USD (10**-6 USD) per allocated core (or node, where a trace counts nodes) and hour. The figures lie
where public on-demand prices of general machines lay in 2025, so that totals look familiar; nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

CURRENCY = "USD"
MICRO_PER_MINOR = 10_000
"""Micro-USD in a cent."""
MILLISECONDS_PER_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Place:
    """A region with its constructed price and start delay.

    Attributes:
        weight: share of workflows that live here, in parts of all weights.
        micro_usd_per_hour: price of one core for one hour.
        start_median_ms: median of the delay from publish to start.
        slow_start_share: share of starts that take 15 to 60 s.
    """

    cloud: str
    region: str
    weight: int
    micro_usd_per_hour: int
    start_median_ms: int
    slow_start_share: float

    @property
    def price_id(self) -> str:
        """Names the price for ever: a new price is a new id."""
        return f"constructed/{self.cloud}/{self.region}/core-hour/v1"


PLACES = (
    Place("AWS", "us-east-1", 4, 48_000, 1_180, 0.002),
    Place("AWS", "eu-central-1", 2, 57_600, 1_240, 0.002),
    Place("GCP", "us-central1", 2, 47_500, 1_310, 0.02),
    Place("GCP", "europe-west3", 2, 61_200, 1_360, 0.02),
    Place("AZURE", "eastus", 2, 50_400, 1_520, 0.01),
)
