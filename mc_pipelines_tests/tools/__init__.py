"""Foreign tools judge what we make."""
