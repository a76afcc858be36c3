"""The HTTP API (FastAPI): the application, authentication and thin routes."""
