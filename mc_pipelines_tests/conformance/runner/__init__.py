"""Published data about the clouds, read by our runner."""
