"""Tests; the tree mirrors mc_pipelines."""
