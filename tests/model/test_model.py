"""The protocol in small scopes, looked at to the last state: with all its rules it is clean, and no rule is there for nothing."""

import pytest

from tests.model.__main__ import look, seen, told
from tests.model.rules import NAMES
from tests.model.scopes import BAD, SHORT


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_mixed_or_stuck(name: str):
    # promises 1, 2, 4, 6, 8, 9, 10, 13
    found = look(SHORT[name])
    assert found.is_clean, told(name, found, 0)


@pytest.mark.parametrize("rule", BAD)
def test_a_rule_left_out_is_noticed(rule: str):
    wrong = BAD[rule]
    found = look(wrong.scope, rule, *wrong.also, until_broken=True)
    assert seen(found) & wrong.laws, told(f"without {rule}", found, 0)


def test_each_rule_can_be_left_out():
    assert set(BAD) == set(NAMES)
