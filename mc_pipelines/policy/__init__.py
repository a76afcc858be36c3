"""Policy change safety: guard, replay, gates, the rollout controller and bundles."""
