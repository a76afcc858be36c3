"""Executions: manifest, states, receipts and the facts that other capabilities read."""
