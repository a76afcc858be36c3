"""The provenance graph: readers, verification, storage, queries and access."""
