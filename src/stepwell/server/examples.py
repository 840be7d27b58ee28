"""What the description of the API shows of each type."""

from typing import Any, Final

_RUN_ID: Final = "019a5b7e-6b1a-7c3e-9a51-0d3f4c1b2a90"
_AT: Final = "2026-11-26T14:47:41.000Z"
_STATUS_CODES: Final = {
    400: "not_json", 401: "authentication", 403: "permission_denied", 404: "not_found", 408: "too_slow", 409: "conflict",
    410: "hook_expired", 413: "payload_too_large", 414: "payload_too_large", 415: "not_json", 421: "wrong_host",
    422: "validation", 429: "rate_limited", 431: "payload_too_large", 500: "internal", 503: "unavailable",
}  # fmt: skip

OF_TYPES: Final[dict[str, Any]] = {
    "TriggerBody": {
        "workflowName": "send-welcome-email", "input": [{"userId": "user-123"}], "idempotencyKey": "welcome-user-123",
        "tags": ["welcome"], "executionTimeout": "1h",
    },
    "BatchBody": {"runs": [{"workflowName": "resize", "input": 1}, {"workflowName": "resize", "input": 2}]},
    "PatchBody": {"tags": ["welcome", "urgent"], "maxEvents": 1000, "executionTimeout": "2h", "status": "paused"},
    "SignalBody": {"name": "manager-approval", "payload": {"approved": True}, "signalId": "mail-4711"},
    "EventBody": {"runId": _RUN_ID, "eventType": "exported", "payload": {"rows": 12}},
    "HookBody": {"runId": _RUN_ID, "name": "document-approval", "action": "approve", "payload": [7], "expires": "3d"},
    "StepResultBody": {"value": {"receipt": "r-17"}, "reason": "charged by hand, see ticket 88"},
    "WritesBody": {"writes": [
        {"action": "create", "data": {"name": "Ada"}}, {"action": "delete", "id": "user-123"},
    ]},
    "ConfigureBody": {"indexes": [{"fields": ["mail"], "unique": True}], "schema": {"required": ["mail"]}},
    "Run": {
        "runId": _RUN_ID, "workflowName": "send-welcome-email", "version": None, "status": "running",
        "input": [{"userId": "user-123"}], "output": None, "error": None, "errorDetails": None, "parentRunId": None,
        "tags": ["welcome"], "priority": 0, "state": None,
        "waitingFor": {"kind": "signal", "name": "manager-approval", "until": None, "others": 0}, "attempt": 1,
        "interruptions": 0, "eventCount": 3, "maxEvents": 50000, "executionTimeout": 3600000,
        "idempotencyKey": "welcome-user-123", "cancelReason": None, "created": False, "createdAt": _AT, "startedAt": _AT,
        "completedAt": None, "updatedAt": _AT,
    },
    "Event": {
        "eventId": f"{_RUN_ID}/3", "runId": _RUN_ID, "seq": 3, "eventType": "step_completed", "stepId": "fetch-user",
        "name": "fetch-user", "payload": {"result": {"id": "user-123"}, "attempt": 1, "startedAt": _AT, "durationMs": 12},
        "createdAt": _AT,
    },
    "Why": {"runId": _RUN_ID, "why": "the run waits for a signal 'manager-approval'"},
}  # fmt: skip


def of_problem(status: int) -> dict[str, Any]:
    """Return examples of a problem."""
    value: dict[str, Any] = {
        "type": f"urn:stepwell:problem:{_STATUS_CODES[status]}", "title": "...", "status": status, "detail": "...",
        "code": _STATUS_CODES[status], "requestId": "019a5b7e-6b1a-7c3e-9a51-0d3f4c1b2a91",
    }  # fmt: skip
    if status == 422:
        value["detail"] = "workflowName is missing"
        value["errors"] = [{"pointer": "/workflowName", "detail": "workflowName is missing", "in": "body"}]
    return {_STATUS_CODES[status]: {"value": value}}
