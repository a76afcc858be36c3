"""Cost and run time before the run: features, models, guardrail, backtest, registry."""
