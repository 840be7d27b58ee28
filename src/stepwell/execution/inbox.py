"""Messages for a run: transcribed into its history in their order, and told to whom they concern."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from stepwell.execution.history import TRANSCRIBED, UNDOES, Answer, History, Signal, received
from stepwell.execution.outbox import Outbox
from stepwell.execution.rest import Wait
from stepwell.execution.undoing import Ending
from stepwell.progress import Message, NewEvent


class Recipient(Protocol):
    """A run, as its messages see it."""

    history: History
    outbox: Outbox

    @property
    def waits(self) -> dict[Any, Wait]: ...

    def time(self) -> int: ...

    def record(self, event: NewEvent) -> None: ...

    def misfit(self, *, recorded: str, asked: str, line: str) -> None: ...

    def drain(self) -> None:
        """Hand the run back as soon as no body of it is under way."""
        ...

    def limited(self, max_events: int, deadline_ms: int | None) -> None:
        """Somebody outside has changed how far the run may go."""
        ...

    def offer(self) -> None: ...

    def decided(self, ending: Ending, event: NewEvent) -> None:
        """Somebody outside has decided on the end of the run."""
        ...


class _Limits(msgspec.Struct, rename="camel"):
    max_events: int
    deadline: int | None


_limits: Final = msgspec.json.Decoder(_Limits).decode


class Inbox:
    """The mailbox of one run, as far as it is transcribed."""

    __slots__ = ("_run", "seen")

    def __init__(self, run: Recipient, seen: int) -> None:
        self.seen = seen
        """The number of the last message that is transcribed, in the outbox at least."""
        self._run = run

    def transcribe(self, messages: Sequence[Message]) -> None:
        """Take messages in, those of them that follow on what is known."""
        run = self._run
        for message in messages:
            if message.mailbox_seq != self.seen + 1:
                continue
            event_type = TRANSCRIBED.get(message.kind, "")
            try:
                payload = received(message)
                limits = _limits(message.payload) if message.kind == "limits" else None
                ending = Ending.of(event_type, message.payload) if event_type in UNDOES else None
            except msgspec.MsgspecError as error:
                what = f"a message {message.name!r} that cannot be read ({error})"
                run.misfit(recorded=what, asked="its payload", line="")
                return
            self.seen = message.mailbox_seq
            run.outbox.consume(message.mailbox_seq, message.message_id)
            if message.kind == "pause":
                # The rest is for who holds the run next: what is let go of must not have read more than it says.
                run.drain()
                return
            if limits is not None:
                run.limited(limits.max_events, limits.deadline)
                run.offer()  # that it was read
                continue
            at_ms = run.time()
            if ending is not None:
                run.decided(ending, NewEvent(event_type, "", "", message.payload, at_ms))
                continue
            run.record(NewEvent(event_type, "", message.name, payload, at_ms))
            if message.kind == "signal":
                run.history.add_signal(message.name, Signal(message.mailbox_seq, message.payload, at_ms))
                self.signalled(message.name)
            else:
                self._answered(message, at_ms)

    def _answered(self, message: Message, at_ms: int) -> None:
        """Keep an answer, and wake every branch that waits for it."""
        self._run.history.answers[message.kind, message.name] = Answer(message.payload, at_ms)
        for wait in list(self._run.waits.values()):
            if wait.is_open and not wait.is_timing_out and wait.answer == (message.kind, message.name):
                wait.end(woken=True)

    def signalled(self, name: str) -> None:
        """Wake the first branch that waits for a signal of this name."""
        waits = (wait for wait in self._run.waits.values() if wait.is_open and wait.kind == "signal" and not wait.is_timing_out)
        first = next((wait for wait in waits if wait.name == name), None)
        if first is not None:
            first.end(woken=True)
