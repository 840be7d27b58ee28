"""What the server counts, for Prometheus. Names of workflows are labels; ids of runs never are."""

import os
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from stepwell.model import Stats
from stepwell.server.answers import Answer

_WORKFLOWS_MAX: Final = 500
"""So many workflows are counted under their names; the rest together, so that nobody fills the memory with names."""
_OTHER: Final = "(other)"
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "stepwell_http_requests", "Requests, by route and status.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "stepwell_http_request_seconds", "How long requests took.", ["route"], buckets=_BUCKETS, registry=self._registry
        )
        self._triggered = Counter("stepwell_runs_triggered", "Runs that were made here.", ["workflow"], registry=self._registry)
        self._runs = Gauge("stepwell_runs", "Runs in the store, by status.", ["status"], registry=self._registry)
        self._claimable = Gauge("stepwell_runs_claimable", "Runs that a worker could take now.", registry=self._registry)
        self._nodes = Gauge("stepwell_nodes", "Live nodes.", registry=self._registry)
        self._waits = Gauge("stepwell_http_waits", "Long-polls and streams that are open.", registry=self._registry)
        self._rare = Gauge(
            "stepwell_engine_counts", "Rare events of this node since its start.", ["what"], registry=self._registry
        )
        Gauge("stepwell_process", "The process that answers: its counters are its own.", ["pid"], registry=self._registry).labels(
            str(os.getpid())
        ).set(1)
        self._workflows: set[str] = set()

    def served(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def triggered(self, workflow: str) -> None:
        """Count a run."""
        if workflow not in self._workflows:
            if len(self._workflows) >= _WORKFLOWS_MAX:
                workflow = _OTHER
            else:
                self._workflows.add(workflow)
        self._triggered.labels(workflow).inc()

    def answer(self, stats: Stats, waits: int) -> Answer:
        """Return everything, as Prometheus reads it."""
        for status, count in stats.runs.items():
            self._runs.labels(status).set(count)
        for what, count in stats.counters.items():
            self._rare.labels(what).set(count)
        self._claimable.set(stats.claimable)
        self._nodes.set(stats.nodes)
        self._waits.set(waits)
        return Answer(200, generate_latest(self._registry), media=CONTENT_TYPE_LATEST)
