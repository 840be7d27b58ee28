"""The engine of a server, over HTTP and WebSocket: the other implementation of ``engine/api.py``."""
