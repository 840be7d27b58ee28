"""What programs hold: ``AsyncClient``, and ``Client``, its blocking face."""
