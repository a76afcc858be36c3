"""Keys: providers, envelope encryption, the encrypted object store, rotation, inventory."""
