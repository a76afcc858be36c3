"""One module of routes per capability; each calls the domain and returns its records."""
