"""Policy decisions: the PolicyEngine protocol, its engines, pack loading, the decision log record."""
