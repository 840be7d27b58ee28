"""What others rely on, pinned. A change here is a change that users notice: it belongs into the changelog.

Error codes, statuses and event types are stored in databases and sent over wires: they may be added, never renamed.
"""

import importlib
import pkgutil

import stepwell
from stepwell.errors import StepwellError
from stepwell.model import EVENT_TYPES, STATUSES

PUBLIC_NAMES = [
    "AsyncClient",
    "AuthenticationError",
    "ChildFailed",
    "CircuitBreakerError",
    "Client",
    "CollectionIndex",
    "CollectionSettings",
    "ConflictError",
    "Context",
    "DuplicateWorkflowError",
    "ErrorDetails",
    "Event",
    "ExecutionTimeoutError",
    "FencedError",
    "ForkedClientError",
    "Hook",
    "HookExpired",
    "InvalidDurationError",
    "MaxEventsError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotFoundError",
    "NotSerializableError",
    "Page",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RecordChange",
    "RecordPage",
    "Run",
    "RunCancelled",
    "RunFailed",
    "Settings",
    "SignalTimeout",
    "Stats",
    "Step",
    "StepFailed",
    "StepInterrupted",
    "StepTimeout",
    "StepwellError",
    "UnavailableError",
    "ValidationError",
    "WaitingFor",
    "Workflow",
    "WorkflowWorker",
    "current_step",
    "register_workflow",
    "step",
    "wait_for_approval",
    "workflow",
]

ERROR_CODES = {
    "AuthenticationError": "authentication",
    "ChildFailed": "child_failed",
    "CircuitBreakerError": "circuit_breaker",
    "ConflictError": "conflict",
    "CorruptStoreError": "corrupt_store",
    "DataRefused": "store_data_refused",
    "DuplicateWorkflowError": "duplicate_workflow",
    "ExecutionTimeoutError": "execution_timeout",
    "FencedError": "fenced",
    "ForkedClientError": "forked_client",
    "HookExpired": "hook_expired",
    "InvalidDurationError": "invalid_duration",
    "MaxEventsError": "max_events",
    "NonDeterminismError": "non_determinism",
    "NonRetryableError": "non_retryable",
    "NotApplied": "store_not_applied",
    "NotFoundError": "not_found",
    "NotSerializableError": "not_serializable",
    "OutcomeUnknown": "store_outcome_unknown",
    "PayloadTooLargeError": "payload_too_large",
    "PermissionDeniedError": "permission_denied",
    "RateLimitedError": "rate_limited",
    "RemoteFailure": "failure",
    "RunCancelled": "run_cancelled",
    "RunFailed": "run_failed",
    "SignalTimeout": "signal_timeout",
    "StepFailed": "step_failed",
    "StepInterrupted": "step_interrupted",
    "StepTimeout": "step_timeout",
    "StepwellError": "error",
    "UnavailableError": "unavailable",
    "ValidationError": "validation",
    "WorkerFailedError": "worker_failed",
}

EVENT_TYPES_WRITTEN = {
    "cancel_requested",
    "child_completed",
    "child_started",
    "compensation_completed",
    "compensation_failed",
    "compensation_started",
    "hook_created",
    "hook_executed",
    "hook_expired",
    "patch_marked",
    "race_won",
    "run_cancelled",
    "run_completed",
    "run_created",
    "run_failed",
    "run_forked",
    "run_paused",
    "run_resumed",
    "run_started",
    "signal_received",
    "signal_timed_out",
    "sleep_completed",
    "sleep_started",
    "state_set",
    "step_completed",
    "step_failed",
    "step_interrupted",
    "step_retrying",
    "step_started",
}


def _tree_below(kind: type[StepwellError]) -> set[type[StepwellError]]:
    return {kind}.union(*(_tree_below(child) for child in kind.__subclasses__()))


def test_the_public_names_are_these_and_sorted():
    assert sorted(stepwell.__all__) == list(stepwell.__all__) == PUBLIC_NAMES
    assert [name for name in PUBLIC_NAMES if not hasattr(stepwell, name)] == []


def test_every_error_has_the_code_it_always_had():
    for module in pkgutil.walk_packages(stepwell.__path__, "stepwell."):
        importlib.import_module(module.name)
    ours = [kind for kind in _tree_below(StepwellError) if kind.__module__.startswith("stepwell.")]
    assert {kind.__name__: kind.code for kind in ours} == ERROR_CODES
    assert len(ours) == len(ERROR_CODES)


def test_statuses_keep_the_order_under_which_they_are_stored():
    assert STATUSES == ("pending", "running", "paused", "completed", "failed", "cancelled")


def test_the_event_types_that_stepwell_writes_are_these():
    assert EVENT_TYPES == EVENT_TYPES_WRITTEN
