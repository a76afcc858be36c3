"""How much two people may give away, and from where a third must sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from mc_pipelines.foundation.money import Money

TWO, THREE = 2, 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Amounts in minor units by currency; a currency that is not listed always takes three signatures.

    Args:
        third_signature_above: a single note above this takes a third signature.
        tenant_month_above: so does one that lifts a tenant's notes of the period's month above this.
        maker_day: a maker signs notes of at most this sum a day.
        remind_after: a draft nobody completed is remembered after this.
        expire_after: and dies after this.
    """

    third_signature_above: Mapping[str, int] = field(
        default_factory=lambda: {"USD": 1_000_000, "EUR": 1_000_000, "GBP": 1_000_000}
    )
    tenant_month_above: Mapping[str, int] = field(
        default_factory=lambda: {"USD": 5_000_000, "EUR": 5_000_000, "GBP": 5_000_000}
    )
    maker_day: Mapping[str, int] = field(
        default_factory=lambda: {"USD": 20_000_000, "EUR": 20_000_000, "GBP": 20_000_000}
    )
    remind_after: timedelta = timedelta(days=3)
    expire_after: timedelta = timedelta(days=14)

    def signatures_for(self, amount: Money, already_in_month: int) -> int:
        """Return how many different people must sign a document of this amount."""
        size = abs(amount.minor)
        single = self.third_signature_above.get(amount.currency, -1)
        month = self.tenant_month_above.get(amount.currency, -1)
        return THREE if size > single or size + already_in_month > month else TWO

    def maker_may_sign(self, amount: Money, already_today: int) -> bool:
        """Tell whether a maker stays within the sum of a day; unlisted currencies have none."""
        most = self.maker_day.get(amount.currency)
        return most is None or abs(amount.minor) + already_today <= most


DEFAULT_LIMITS = Limits()
