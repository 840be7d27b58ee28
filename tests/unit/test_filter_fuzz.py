"""The short form of ``make fuzz``: made-up filters neither crash the parser nor make it talk without end."""

import random

from tests.fuzz.filters import SEEDS, feed


def test_made_up_filters_are_parsed_or_refused():
    dice = random.Random(7)
    for seed in SEEDS:
        feed(seed.encode())
    for _ in range(3_000):
        base = bytearray(dice.choice(SEEDS).encode()) if dice.random() < 0.7 else bytearray(dice.randbytes(dice.randrange(60)))
        for _ in range(dice.randrange(8)):
            place = dice.randrange(len(base) + 1)
            base[place : place + dice.randrange(3)] = dice.choice(
                (b"(", b")", b"'", b"&&", b"||", b"\xff", b"=", dice.randbytes(2))
            )
        feed(bytes(base))
