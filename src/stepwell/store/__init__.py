"""Where runs and their histories are kept: the interface, and the stores that implement it. The only place with SQL."""
