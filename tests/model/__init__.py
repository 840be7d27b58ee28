"""The protocol, explored: every state that a few nodes and a run or two can get into, with all that can go wrong.

``words`` say what a state is made of, ``store`` what a batch does to it, ``execution`` what an owner does next, ``moves`` and
``outside`` what can happen, ``rules`` what can be left out, ``laws`` what must hold. From every state all runs must still be able
to be over, or rest because somebody asked for it.

    python -m tests.model clean [--long]    with all rules: every line says "clean"
    python -m tests.model bad               without one rule each: every line shows the shortest trace of what goes wrong

A change of the protocol is tried here first. Commits are atomic in the model: what a database does below that is not its subject.
Time passes whenever it likes, so no law rests on clocks.

What it has shown about pause, hooks, deadlines, compensations, retry and fork, besides what ``bad`` shows:

- A parent that is retried asks again for the end of its child. If the child's end has the same message id as the first time, the
  store takes the message for a repetition, and the parent waits for ever. The id needs the attempt of the run that waits
  (``rounds_count_attempts``).
- A deadline that another node enforces leaves the old owner alive, under a good lease and with the run in its hands. If the run
  is retried before the owner has noticed, a body that somebody else has recorded may begin again (``body_minds_deadline``).
- A cancel that writes the final event itself is right only while no completed step has a compensation; so is a deadline. By way
  of an owner, a cancel must outlive the owner that has read it: as an event, and as ``wanted``, beside which a pause may stand.
- A pause that a failure has come before is still wanted of a run that is over. Retried, it can neither suspend nor time out
  (``end_forgets_pause``).
- A run that is let go of is paused by whoever lets go of it. Left to the next owner, a pause that was heard is forgotten.
"""
