"""The columns of FOCUS (FinOps Open Cost and Usage Specification, 1.2) that showback fills, and our own ``x_`` ones.

All mandatory columns of FOCUS 1.2 are here. A billing account is a tenant, because currency and calendar are the
tenant's; a sub account is one of its workflows; the provider is the cloud. docs/showback.md explains each choice.
"""

from __future__ import annotations

import polars as pl
from polars.datatypes import DataType, DataTypeClass

FOCUS_VERSION = "1.2"
MOMENT = pl.Datetime("us", "UTC")
COST = pl.Decimal(38, 3)
"""Major units of the billing currency; three places carry every currency of ISO 4217 that is traded here."""
ESTIMATE = pl.Decimal(38, 6)
QUANTITY = pl.Decimal(38, 3)
USAGE = "Usage"
UNIT = "Core-Seconds"

_FOCUS: dict[str, DataType | DataTypeClass] = {
    "BilledCost": COST,
    "BillingAccountId": pl.String,
    "BillingAccountName": pl.String,
    "BillingCurrency": pl.String,
    "BillingPeriodEnd": MOMENT,
    "BillingPeriodStart": MOMENT,
    "ChargeCategory": pl.String,
    "ChargeClass": pl.String,
    "ChargeDescription": pl.String,
    "ChargeFrequency": pl.String,
    "ChargePeriodEnd": MOMENT,
    "ChargePeriodStart": MOMENT,
    "ConsumedQuantity": QUANTITY,
    "ConsumedUnit": pl.String,
    "ContractedCost": COST,
    "EffectiveCost": COST,
    "InvoiceIssuerName": pl.String,
    "ListCost": COST,
    "PricingQuantity": QUANTITY,
    "PricingUnit": pl.String,
    "ProviderName": pl.String,
    "PublisherName": pl.String,
    "RegionId": pl.String,
    "RegionName": pl.String,
    "ResourceId": pl.String,
    "ResourceType": pl.String,
    "ServiceCategory": pl.String,
    "ServiceName": pl.String,
    "SkuPriceId": pl.String,
    "SubAccountId": pl.String,
    "SubAccountName": pl.String,
    "Tags": pl.String,
}
_OURS: dict[str, DataType | DataTypeClass] = {
    "x_Attempts": pl.Int64,
    "x_BillingZone": pl.String,
    "x_Cloud": pl.String,
    "x_EstimatedCost": ESTIMATE,
    "x_EstimatedCostLow": ESTIMATE,
    "x_EstimatedCostHigh": ESTIMATE,
    "x_EstimatedExecutions": pl.Int64,
    "x_EstimatorConfidence": pl.Float64,
    "x_EstimatorModelId": pl.String,
    "x_EstimatorSource": pl.String,
    "x_Source": pl.String,
    "x_UnsuccessfulCost": COST,
}
FOCUS_SCHEMA = pl.Schema(_FOCUS | _OURS)
"""Columns in the order of an export."""

NULLABLE = frozenset(
    {
        "ChargeClass",
        "RegionId",
        "RegionName",
        "ResourceId",
        "ResourceType",
        "SkuPriceId",
        "x_Cloud",
        *(name for name in _OURS if name.startswith("x_Estimat") and name != "x_EstimatedExecutions"),
    }
)
COST_COLUMNS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")

PROVIDERS = {"AWS": "AWS", "AZURE": "Microsoft", "GCP": "Google Cloud"}
"""Clouds of the facts as their own FOCUS exports name themselves; any other cloud keeps its name."""
NO_PROVIDER = "none"
"""Of executions that were denied before they had a place; they cost nothing."""
ISSUER = "Maestro Conductor"
