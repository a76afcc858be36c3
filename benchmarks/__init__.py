"""Benchmarks: each prints a ratio against a rival or a limit that was measured in the same run."""
