"""The built wheel, installed outside the repository."""
