"""One reader per document format; each turns bytes into claims."""
