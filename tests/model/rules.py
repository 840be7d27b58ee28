"""The rules of the protocol, each of which can be left out. Left out, each shows a trace that breaks a law."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Rules:
    """All of them hold, unless told otherwise."""

    # -- nodes and batches
    new_identity: bool = True
    """A node that was declared dead comes back under another id."""
    compares: bool = True
    """A node compares what it holds with what it owns, and believes the rows."""
    verifies: bool = True
    """After contact was lost nothing is done until the last batch was compared."""
    random_batch_id: bool = True
    """A batch has a random id besides its number."""
    turn_guard: bool = True
    """An owner's writes are guarded by ``turn``, not by where the history stands."""
    free_makes_due: bool = True
    """A run that is freed is due at once."""
    lease_check: bool = True
    """A body begins only under a lease that holds."""

    # -- mailbox
    mail_makes_due: bool = True
    """A message makes a run due that nobody owns."""
    message_identity: bool = True
    """A transcribed message is compared with the one that the store holds."""
    transcribes_in_order: bool = True
    """The mailbox is consumed only by transcribing it; off: a suspension declares it consumed."""
    quiet_time_outs: bool = True
    """A time-out is recorded only if no message has come before it."""
    quiet_suspensions: bool = True
    """A suspension is done only if no message has come before it."""

    # -- hooks
    first_answer_stands: bool = True

    # -- children
    tells_late_waits: bool = True
    """A wait for a run that is over already is answered in the commit that registers it."""
    rounds_count_attempts: bool = True
    """The message of a run's end has an id that differs from one attempt of the run that waits to the next."""

    # -- cancel, pause, deadline
    cancel_minds_undo: bool = True
    """A cancel of a run with compensations goes by way of an owner, and does not write the final event itself."""
    cancel_wakes_paused: bool = True
    """A paused run that is cancelled by way of an owner runs again."""
    cancel_is_recorded: bool = True
    """A cancel is transcribed as an event, so that the next owner knows of it."""
    completing_minds_cancel: bool = True
    """A run that is being cancelled cannot complete."""
    pause_at_letting_go: bool = True
    """A run that is to be paused is paused when its owner lets go of it."""
    deadline_minds_undo: bool = True
    """A deadline of a run with compensations goes by way of an owner."""
    body_minds_deadline: bool = True
    """No body begins once the deadline that its owner knows of has passed, whatever has become of the run since."""
    end_forgets_pause: bool = True
    """A pause that a run's end has come before is forgotten, also when the run is retried."""
    pause_keeps_cancel: bool = True
    """A run may be paused while it is undone: that it is to end stands beside it."""

    # -- compensations
    last_first: bool = True
    """Compensations run in the reverse order of their steps' completion."""

    # -- retry, fork
    retry_has_one_winner: bool = True
    """A retry compares that the run is failed, and where its history ended."""
    retry_minds_undo: bool = True
    """A run whose compensations have run is not retried."""
    fork_undoes_its_own: bool = True
    """A fork undoes what it has done itself; what it shares is undone by the run that did it."""
    fork_has_no_end: bool = True
    """A fork copies neither ends nor compensations."""


NAMES: tuple[str, ...] = tuple(field.name for field in fields(Rules))
