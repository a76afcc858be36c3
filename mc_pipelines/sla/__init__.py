"""Customer SLAs: contracts, attainment, breaches, credits and their signed notes."""
