"""Fuzz the parser of filters: ``python -m tests.fuzz [inputs]``. Any crash, hang or endless text ends it."""

import sys

import atheris

with atheris.instrument_imports():
    import lark  # noqa: F401

    from stepwell.records import parsing

from tests.fuzz.filters import SEEDS, feed

_INPUTS = 1_000_000
_LENGTH_MAX = 3_000


def main() -> None:
    inputs = sys.argv[1] if len(sys.argv) > 1 else str(_INPUTS)
    parsing.parse(SEEDS[0])
    atheris.Setup([sys.argv[0], f"-runs={inputs}", f"-max_len={_LENGTH_MAX}", "-timeout=5", "-verbosity=0"], feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
