"""What a history answers about a run that is being undone."""

from stepwell.execution.history import History
from stepwell.execution.identity import compensation_key, is_compensation, step_key
from stepwell.progress import StoredEvent


def _history(*events: tuple[str, str, str]) -> History:
    return History(StoredEvent(seq, kind, step_id, "", payload, 0) for seq, (kind, step_id, payload) in enumerate(events, 1))


def test_a_step_that_was_recorded_behind_the_cancel_counts_as_any_other():
    # Its body was under way when the message came, and ended before it was told.
    history = _history(
        ("step_completed", "a", '{"result":1,"compensate":true}'),
        ("cancel_requested", "", '{"reason":null,"children":[]}'),
        ("step_completed", "b", '{"result":2,"compensate":true}'),
        ("compensation_completed", "compensate:b", '{"result":3}'),
    )
    assert history.undoes is not None
    assert list(history.compensations) == ["a", "b"]
    assert history.is_replaying
    for identity in ("a", "b"):
        record = history.ask(identity)
        assert record is not None
        assert record.outcome is not None
    assert not history.is_replaying
    assert list(history.undone) == ["compensate:b"]


def test_a_compensation_is_known_by_its_identity_and_no_step_can_have_one_like_it():
    assert compensation_key("parallel#0/2/charge#1") == "parallel#0/2/compensate:charge#1"
    assert is_compensation("parallel#0/2/compensate:charge#1")
    assert is_compensation("compensate:charge")
    assert not is_compensation("parallel#0/2/charge")
    assert not is_compensation(step_key("compensate:charge"))
