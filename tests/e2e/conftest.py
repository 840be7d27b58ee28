from tests.servers import engine, live, settings

__all__ = ["engine", "live", "settings"]
