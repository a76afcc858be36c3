"""Estimator on every trace of the data folder."""
