"""Every metric with its labels and what it means; the labels are bounded, whatever clients send."""

from __future__ import annotations

from typing import NamedTuple

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

# Seconds; the answer to a plain read takes less than the first, a statement's limit is 30.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SUM = len(BUCKETS) + 1  # behind the buckets and the one without a bound
WIDTH = SUM + 1

REQUESTS = "groundplane_http_request_duration_seconds"
RECORD_REQUESTS = "groundplane_record_requests"
RECORD_CHANGES = "groundplane_record_changes"
CALLS = "groundplane_plugin_calls"
FAILURES = "groundplane_plugin_failures"
TIMEOUTS = "groundplane_plugin_timeouts"
DROPPED = "groundplane_plugin_dropped"
SECONDS = "groundplane_plugin_seconds"
JOB_RUNS = "groundplane_job_run_duration_seconds"
JOBS = "groundplane_jobs"
OLDEST_JOB = "groundplane_jobs_oldest_due_seconds"
DELIVERIES = "groundplane_webhook_deliveries"
DATABASE_UP = "groundplane_database_up"
CONNECTIONS = "groundplane_database_connections"
WAITING = "groundplane_database_waiting_requests"
STREAMS = "groundplane_realtime_streams"
PROCESSES = "groundplane_processes"
CPU = "groundplane_process_cpu_seconds"
MEMORY = "groundplane_process_resident_memory_bytes"
FILES = "groundplane_process_open_files"
LAG = "groundplane_event_loop_lag_seconds"
INFO = "groundplane_info"


class Described(NamedTuple):
    kind: str
    labels: tuple[str, ...]
    text: str


METRICS: dict[str, Described] = {
    INFO: Described(GAUGE, ("version",), "1, with the version of the server."),
    REQUESTS: Described(
        HISTOGRAM,
        ("method", "route", "status"),
        "Requests by method, template of the route and class of the status, and how long they took.",
    ),
    RECORD_REQUESTS: Described(
        COUNTER,
        ("collection", "action", "status"),
        "Requests for records: list, view, create, update, delete; items of a batch are not among them.",
    ),
    RECORD_CHANGES: Described(
        COUNTER, ("collection", "action"), "Committed changes of records, with batches and cascades."
    ),
    CALLS: Described(COUNTER, ("plugin", "hook"), "Calls of a plugin's function."),
    FAILURES: Described(COUNTER, ("plugin", "hook"), "Calls that failed, those that took too long too."),
    TIMEOUTS: Described(COUNTER, ("plugin", "hook"), "Calls that took too long."),
    DROPPED: Described(COUNTER, ("plugin", "hook"), "Events that a plugin was too slow for."),
    SECONDS: Described(COUNTER, ("plugin", "hook"), "Seconds spent in a plugin's function."),
    JOB_RUNS: Described(
        HISTOGRAM, ("kind", "outcome"), "Runs of jobs, done or failed, and how long they took."
    ),
    JOBS: Described(GAUGE, ("kind", "state"), "Jobs in the queue, finished ones as long as they are kept."),
    OLDEST_JOB: Described(GAUGE, (), "How long the job that has waited longest is due already."),
    DELIVERIES: Described(
        GAUGE, ("state",), "Deliveries of webhooks, finished ones as long as they are kept."
    ),
    DATABASE_UP: Described(GAUGE, (), "Whether the database answered this scrape."),
    CONNECTIONS: Described(GAUGE, ("state",), "Connections of the pools: idle or busy."),
    WAITING: Described(GAUGE, ("lane",), "Requests that wait for a connection that many share."),
    STREAMS: Described(GAUGE, (), "Open streams of realtime."),
    PROCESSES: Described(GAUGE, ("role",), "Processes of this server: web or jobs."),
    CPU: Described(COUNTER, ("role",), "Processor time of the processes."),
    MEMORY: Described(GAUGE, ("role",), "Resident memory of the processes."),
    FILES: Described(GAUGE, ("role",), "Open files of the processes, connections among them."),
    LAG: Described(GAUGE, ("role",), "How late the event loop was at the last look, in the worst process."),
}
LARGEST = frozenset({LAG})  # of several processes the largest counts; of all others the sum
