"""Policy decisions: engines, packs, and the record of what was decided."""
