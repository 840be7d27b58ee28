"""``python -m tests.model clean [--long] | bad``: explore the protocol with all its rules, or with one left out at a time."""

import argparse
import sys
import time
from typing import Any

from tests.model.explorer import Found, explore
from tests.model.moves import Model
from tests.model.outside import Scope
from tests.model.rules import Rules
from tests.model.scopes import BAD, LONG, SHORT


def look(scope: Scope, *left_out: str, until_broken: bool = False) -> Found:
    """Explore a scope without these rules."""
    model = Model(scope, Rules(**dict.fromkeys(left_out, False)))
    return explore(model.first(), model.moves, model.is_goal, until_broken=until_broken)


def seen(found: Found) -> set[str]:
    """Return the laws that did not hold."""
    return {*found.broken, *(["stuck"] if found.stuck is not None else [])}


def told(name: str, found: Found, seconds: float) -> str:
    """Return what was found, with the shortest traces."""
    size = f"{found.states} states, {found.moves} moves" + ("" if found.is_complete else ", cut off")
    lines = [f"{name}: {'clean' if found.is_clean else ', '.join(sorted(seen(found)))} ({size}, {seconds:.1f} s)"]
    for text, way in found.broken.values():
        lines += [f"    {text}", *_wrapped(way)]
    if found.stuck is not None:
        way, state = found.stuck
        lines += ["    stuck", *_wrapped(way), f"      in {_short(state)}"]
    return "\n".join(lines)


def _wrapped(way: list[str]) -> list[str]:
    return [f"      {'; '.join(way[start : start + 6])}" for start in range(0, len(way), 6)]


def _short(state: Any) -> str:
    return "; ".join(str(row) for row in state.rows)


def main() -> int:
    """Return 0 if all was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("what", choices=["clean", "bad"])
    parser.add_argument("--long", action="store_true", help="larger scopes as well: minutes")
    parser.add_argument("names", nargs="*", help="of scopes or rules (all)")
    asked = parser.parse_intermixed_args()
    is_good = True
    if asked.what == "clean":
        scopes = {**SHORT, **({f"{name} (long)": scope for name, scope in LONG.items()} if asked.long else {})}
        for name, scope in scopes.items():
            if not asked.names or name in asked.names:
                began = time.monotonic()
                found = look(scope)
                is_good &= found.is_clean
                print(told(name, found, time.monotonic() - began), flush=True)
    else:
        for rule, wrong in BAD.items():
            if not asked.names or rule in asked.names:
                began = time.monotonic()
                found = look(wrong.scope, rule, *wrong.also, until_broken=True)
                is_good &= bool(seen(found))
                print(told(f"without {' and '.join((rule, *wrong.also))}", found, time.monotonic() - began), flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
