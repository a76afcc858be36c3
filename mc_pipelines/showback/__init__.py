"""What it cost, per tenant, workflow and cloud, in FOCUS columns and to the cent of the execution facts."""
