"""Public policy corpora."""
