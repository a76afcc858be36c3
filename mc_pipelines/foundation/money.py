"""Money: integer minor units with an ISO 4217 code; never a float."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from mc_pipelines.foundation.errors import InputError

# ISO 4217 minor units of the currencies that are traded; an unlisted code is refused.
_TWO = (
    "AED AUD BGN BRL CAD CHF CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR KES MAD MXN MYR NGN NOK NZD PEN "
    "PHP PKR PLN QAR RON RSD SAR SEK SGD THB TRY TWD UAH USD UYU ZAR"
)
_ZERO = "CLP ISK JPY KRW PYG UGX VND XAF XOF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_EXPONENTS: dict[str, int] = (
    dict.fromkeys(_TWO.split(), 2) | dict.fromkeys(_ZERO.split(), 0) | dict.fromkeys(_THREE.split(), 3)
)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,18})?", re.ASCII)
_MOST_DIGITS = 100


def minor_unit_exponent(currency: str) -> int:
    """Return the number of decimal places of an ISO 4217 currency.

    Raises:
        InputError: the code is unknown here.
    """
    try:
        return _EXPONENTS[currency]
    except (KeyError, TypeError) as error:
        raise InputError(
            "Unknown currency or minor unit", field="currency", value=currency, mend="use an upper-case ISO 4217 code"
        ) from error


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount of one currency in its minor unit (cents of USD, yen of JPY, fils of BHD)."""

    currency: str
    minor: int

    def __post_init__(self) -> None:
        minor_unit_exponent(self.currency)
        if not isinstance(self.minor, int) or isinstance(self.minor, bool):
            raise InputError("Money is counted in integer minor units", field="minor", value=self.minor)

    @classmethod
    def of(cls, amount: Decimal | Fraction | int | str, currency: str) -> Money:
        """Round an exact amount of major units half up to the minor unit.

        Raises:
            InputError: the amount is a float or no number.
        """
        return cls(currency, round_half_up(exact(amount, field="amount"), minor_unit_exponent(currency)))

    @property
    def amount(self) -> Decimal:
        """The amount in major units, with exactly the currency's decimal places."""
        return shift(self.minor, minor_unit_exponent(self.currency))

    def __add__(self, other: Money) -> Money:
        return Money(self._same(other), self.minor + other.minor)

    def __sub__(self, other: Money) -> Money:
        return Money(self._same(other), self.minor - other.minor)

    def __neg__(self) -> Money:
        return Money(self.currency, -self.minor)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    def _same(self, other: Money) -> str:
        if other.currency != self.currency:
            raise InputError("Amounts of two currencies do not add", field="currency", value=other.currency)
        return self.currency


def exact(value: Decimal | Fraction | int | str, *, field: str) -> Fraction:
    """Return the exact rational of an amount.

    Raises:
        InputError: a float, NaN, infinity, text that is no plain decimal number, or one of too many digits.
    """
    if isinstance(value, bool | float):
        raise InputError(
            "Money is never a float", field=field, value=value, mend="send it as a decimal string such as 12.40"
        )
    try:
        if isinstance(value, str):
            value = _decimal_of(value)
        if isinstance(value, Decimal) and value.is_finite() and value and _extent(value) > _MOST_DIGITS:
            raise InputError(f"A number of more than {_MOST_DIGITS} digits", field=field, value=f"{value:.9e}")
        return Fraction(value)
    except (InvalidOperation, ValueError, OverflowError, TypeError) as error:
        raise InputError("Not a decimal number", field=field, value=value) from error


def _decimal_of(text: str) -> Decimal:
    # Decimal itself also reads 1_000, surrounding spaces and the digits of other scripts.
    if _NUMBER.fullmatch(text) is None:
        msg = "not a plain decimal number"
        raise ValueError(msg)
    return Decimal(text)


def _extent(value: Decimal) -> int:
    # Digits of the number written out: 1e999999999 is short as text and a gigabyte as an integer.
    return max(abs(value.adjusted()), abs(int(value.as_tuple().exponent)))


def round_half_up(value: Fraction, exponent: int) -> int:
    """Round ``value`` x 10**exponent to an integer, halves away from zero."""
    scaled = value * Fraction(10) ** exponent
    whole, rest = divmod(abs(int(scaled.numerator)), int(scaled.denominator))
    rounded = whole + (2 * rest >= scaled.denominator)
    return rounded if scaled >= 0 else -rounded


def shift(whole: int, places: int) -> Decimal:
    """Return ``whole`` x 10**-places exactly; Decimal.scaleb would round to the 28 digits of the context."""
    sign, digits, _ = Decimal(whole).as_tuple()
    return Decimal((sign, digits, -places))


def decimal_text(value: Decimal) -> str:
    """Return a Decimal as plain text, without an exponent."""
    return format(value, "f")


__all__ = ["Money", "decimal_text", "exact", "minor_unit_exponent", "round_half_up", "shift"]
