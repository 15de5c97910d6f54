"""A miner's metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


class Metrics:
    """A miner's metrics, in a registry of their own, so that tests do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.prompts = Counter("ewmalab_prompts", "Prompts answered.", ["asset", "competition"], registry=self.registry)
        self.refused = Counter("ewmalab_refused", "Requests refused.", ["kind"], registry=self.registry)
        self.latency = Histogram(
            "ewmalab_answer_seconds",
            "Time from the request to the last byte sent.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.simulation = Histogram(
            "ewmalab_simulation_seconds",
            "Time to compute paths and their bytes.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.shared = Counter(
            "ewmalab_shared", "Prompts answered with paths computed for a concurrent one.", registry=self.registry
        )
        self.anchors = Counter("ewmalab_anchors", "Sources of anchor prices.", ["source"], registry=self.registry)
        self.state_age = Gauge("ewmalab_state_age_seconds", "Age of the newest bar.", ["asset"], registry=self.registry)
        self.spot_age = Gauge("ewmalab_spot_age_seconds", "Age of the spot price.", ["asset"], registry=self.registry)
        self.spot_errors = Gauge("ewmalab_spot_errors", "Failed spot requests.", ["source"], registry=self.registry)
        self.feed_errors = Gauge("ewmalab_feed_errors", "Failed updates.", ["asset"], registry=self.registry)
        self.updates_missed = Gauge("ewmalab_updates_missed", "Updates skipped.", registry=self.registry)
        self.chain_age = Gauge(
            "ewmalab_chain_age_seconds", "Time since the chain last answered.", registry=self.registry
        )
        self.chain_errors = Gauge("ewmalab_chain_errors", "Failed chain queries.", registry=self.registry)
        self.answers_lost = Gauge("ewmalab_answers_unlogged", "Answers not logged.", registry=self.registry)
        self.amendments_lost = Gauge(
            "ewmalab_amendments_unrecorded", "Late or revised bars not recorded.", registry=self.registry
        )
        self.alarm = Gauge("ewmalab_alarm", "1 if the alarm is on.", ["alarm"], registry=self.registry)
        self.quiet = Gauge(
            "ewmalab_quiet_seconds", "Time since a validator last called, or since the start.", registry=self.registry
        )
        self.heard = Gauge("ewmalab_validators_heard", "Validators that called lately.", registry=self.registry)
        self.share_refused = Gauge(
            "ewmalab_validators_refused_share", "Share of them that was refused.", registry=self.registry
        )
        self.clock_skew = Gauge(
            "ewmalab_clock_skew_seconds", "Seconds that our clock is ahead.", ["of"], registry=self.registry
        )
        self.disk_free = Gauge("ewmalab_disk_free_bytes", "Room on a disk.", ["folder"], registry=self.registry)
        self.restarts = Gauge("ewmalab_restarts", "Restarts by the supervisor.", ["process"], registry=self.registry)
        self.uptime = Gauge("ewmalab_uptime_seconds", "Time since the miner's start.", registry=self.registry)
        self.connections = Gauge("ewmalab_connections", "Open connections.", registry=self.registry)

    def refusals(self) -> dict[str, int]:
        """Return the number of refused requests by kind, of all callers."""
        samples = [sample for family in self.refused.collect() for sample in family.samples]
        return {s.labels["kind"]: int(s.value) for s in samples if s.name.endswith("_total")}

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)
