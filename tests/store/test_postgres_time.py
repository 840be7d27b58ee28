"""The time that a node believes it is in PostgreSQL: never later than it is, however long questions and answers take."""

from stepwell import Settings
from stepwell.clock import Clock
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_pool import Pool
from stepwell.store.postgres_rows import Speech


class Boot(Clock):
    """Its boot time is moved by hand."""

    boot = 1_000

    def boot_ms(self) -> int:
        return self.boot


def asked(pool: Pool, clock: Boot, server_ms: int, took_ms: int) -> int:
    """Learn the server's time from a question that took so long; return what time the pool believes it is."""
    before_ms = clock.boot
    clock.boot += took_ms
    pool.set_time(server_ms, before_ms)
    return pool.now_ms()


def test_the_least_is_believed_that_is_possible_and_kept_while_it_is():
    clock = Boot()
    pool = Pool(parse_address("postgresql://u@h/d"), Speech(None), clock=clock, settings=Settings())
    assert asked(pool, clock, 500_000, 40) == 499_999  # the answer may have taken all of the 40 ms, or none
    clock.boot += 100
    assert pool.now_ms() == 500_099
    assert asked(pool, clock, 500_110, 200) == 500_299  # as possible as before
    assert asked(pool, clock, 500_330, 10) == 500_329  # it is later than was believed
    assert asked(pool, clock, 400_000, 10) == 399_999  # somebody has set the server's clock back
