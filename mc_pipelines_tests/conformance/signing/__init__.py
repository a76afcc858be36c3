"""Public corpora of signatures, envelopes, trees, notes and bundles."""
