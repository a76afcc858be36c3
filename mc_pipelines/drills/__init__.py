"""Game days as code."""
