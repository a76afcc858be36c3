"""Read a price list: one row an instance type and region, as the public catalogues publish them."""

from __future__ import annotations

import csv
from decimal import Decimal, InvalidOperation
from pathlib import Path

from mc_pipelines.estimator.pricing import Price
from mc_pipelines.estimator.readers import DEFAULT_PRICE_USD_PER_RESOURCE_HOUR
from mc_pipelines.foundation.errors import InputError

DEFAULT_PRICE = Price("default", "USD", DEFAULT_PRICE_USD_PER_RESOURCE_HOUR)
_COLUMNS = ("cloud", "instance_type", "vcpus", "region", "price_usd_h")
_ACCELERATOR = "no accelerator"


def read_prices(path: Path) -> dict[str, Price]:
    """Return prices per vCPU-hour by ``cloud/region/instance_type``.

    A row that says its price leaves the accelerator out is skipped: it would be too cheap.

    Raises:
        InputError: no such file, a missing column, or a price that is no positive decimal.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("Not a readable price list", field="prices", value=str(path)) from error
    found: dict[str, Price] = {}
    for number, row in enumerate(rows, start=2):
        missing = [name for name in _COLUMNS if not row.get(name)]
        if missing:
            raise InputError("A price lacks a column", field=missing[0], value=f"{path.name} line {number}")
        if _ACCELERATOR in (row.get("note") or ""):
            continue
        try:
            cpus = Decimal(row["vcpus"])
            hourly = Decimal(row["price_usd_h"]) / cpus
            spot = Decimal(row["spot_price_usd_h"]) / cpus if row.get("spot_price_usd_h") else None
        except (InvalidOperation, ZeroDivisionError) as error:
            raise InputError("Not a price", field="price_usd_h", value=f"{path.name} line {number}") from error
        price_id = f"{row['cloud']}/{row['region']}/{row['instance_type']}"
        found[price_id] = Price(price_id, "USD", hourly, spot, cloud=row["cloud"], region=row["region"])
    return found
