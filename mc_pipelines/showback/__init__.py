"""Cost per tenant, workflow and cloud, in FOCUS columns."""
