"""``stepwell worker``: execute runs until asked to stop."""

from typing import Any

from stepwell import Workflow, WorkflowWorker
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.interrupts import Interrupted, Interrupts
from stepwell.cli.modules import find_workflows
from stepwell.cli.options import DEFAULT, Common
from stepwell.cli.output import print_line, say
from stepwell.durations import parse_ms


async def worker(*modules: str, concurrency: int = 100, drain_timeout: str = "30s", common: Common = DEFAULT) -> Exit:
    """Execute the runs of the workflows in these modules.

    SIGTERM or Ctrl-C drains: no new runs, steps under way finish, the rest is handed back. A second one does not wait.

    Parameters
    ----------
    modules
        MODULE, or MODULE:workflow for one workflow of it; a dotted name or a file.
    concurrency
        How many runs to execute at once.
    drain_timeout
        How long steps under way may take to finish when the worker is asked to stop.
    """
    if not modules:
        raise UsageError("name at least one module, as in: stepwell worker app.py")
    if concurrency < 1:
        raise UsageError(f"--concurrency must be a whole number from 1 up, not {concurrency}")
    drain_s = parse_ms(drain_timeout, bare="s", field="--drain-timeout") / 1000
    workflows: list[Workflow[Any, Any]] = [wf for module in modules for wf in find_workflows(module)]
    names = sorted({wf.name for wf in workflows})
    async with Interrupts() as interrupts, common.client() as client:
        executing = WorkflowWorker(client, concurrency=concurrency, drain_timeout=drain_s)
        await executing.start(*names)
        _tell("ready", f"ready: {', '.join(names)}", common, workflows=names)
        await interrupts.asked()
        _tell("draining", f"draining, for at most {drain_timeout}; the same once more stops at once", common)
        try:
            await interrupts.unless_insisted(executing.stop(drain=True))
        except Interrupted:
            # Others take over what this process leaves.
            return Exit.INTERRUPTED
    _tell("stopped", "stopped", common)
    return Exit.OK


def _tell(what: str, text: str, common: Common, **more: Any) -> None:
    if common.json:
        print_line({"event": what, **more})
    else:
        say(text)
