"""Public corpora of executions."""
