"""Data-subject requests: find, redact, shred, evidence."""
