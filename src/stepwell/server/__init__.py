"""Everything over HTTP: an ASGI application over any engine."""
