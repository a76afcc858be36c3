"""Signed statements: DSSE, the Signer protocol, key history, the Merkle audit log, packs as containers."""
