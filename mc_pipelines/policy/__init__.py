"""Changing policy safely: guard, bundles, paired evidence, gates, and the rollout controller."""
