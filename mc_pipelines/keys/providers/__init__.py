"""One module per key provider; all keep the protocol of `keys.provider`."""
