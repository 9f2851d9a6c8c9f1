//! Counters, gauges and latencies of the streaming runtime, for Prometheus.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// A label set of one name and one value.
type Label = [(&'static str, String); 1];
/// Latencies by stage; every histogram has the same buckets.
type Stages = Family<Label, Histogram, fn() -> Histogram>;

/// Where the time of a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the venue's time to our receipt.
    Venue,
    /// From receipt to encoding.
    Engine,
    /// From encoding until the socket took the bytes.
    Deliver,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Venue => "venue",
            Self::Engine => "engine",
            Self::Deliver => "deliver",
        }
    }
}

/// What the runtime counts. Shared; each field is an atomic, added to once per turn or flush, never per delivery.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Trades applied.
    pub trades: Counter<u64, AtomicU64>,
    /// Trades that were known already.
    pub duplicates: Counter<u64, AtomicU64>,
    /// Trades too late for their candle.
    pub late_dropped: Counter<u64, AtomicU64>,
    /// Holes found in id chains.
    pub gaps_open: Counter<u64, AtomicU64>,
    /// Holes filled.
    pub gaps_repaired: Counter<u64, AtomicU64>,
    /// Holes given up.
    pub gaps_lost: Counter<u64, AtomicU64>,
    /// Inputs for symbols that no shard knows.
    pub unknown: Counter<u64, AtomicU64>,
    /// Candles closed.
    pub candles_closed: Counter<u64, AtomicU64>,
    /// Closed candles sent again with a higher revision.
    pub revisions: Counter<u64, AtomicU64>,
    /// Frames encoded by shards.
    pub frames: Counter<u64, AtomicU64>,
    /// Frames dropped between shard and worker and read again.
    pub frames_dropped: Counter<u64, AtomicU64>,
    /// Repair requests that nobody took in time.
    pub missing_dropped: Counter<u64, AtomicU64>,
    /// Frames handed to sessions.
    pub deliveries: Counter<u64, AtomicU64>,
    /// Bytes written to sockets.
    pub bytes: Counter<u64, AtomicU64>,
    /// Open sessions.
    pub connections: Gauge,
    /// Bytes waiting in outboxes.
    pub outbox_bytes: Gauge,
    /// Frames replaced by a newer one in an outbox.
    pub conflated: Counter<u64, AtomicU64>,
    /// Events that a full outbox lost.
    pub events_lost: Counter<u64, AtomicU64>,
    /// Sessions closed for being slow.
    pub slow_closes: Counter<u64, AtomicU64>,
    /// Jumps of the wall clock.
    pub clock_jumps: Counter<u64, AtomicU64>,
    /// Connections that could not be accepted.
    pub accept_errors: Counter<u64, AtomicU64>,
    refused: Family<Label, Counter<u64, AtomicU64>>,
    latency: Stages,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers one metric and returns it.
fn register<M: prometheus_client::registry::Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("kandle");
        let latency: Stages = Family::new_with_constructor(histogram);
        registry.register("latency_seconds", "Delay by stage, one sample per turn", latency.clone());
        let r = &mut registry;
        Self {
            trades: register(r, "trades", "Trades applied"),
            duplicates: register(r, "duplicates", "Trades that were known already"),
            late_dropped: register(r, "late_dropped", "Trades too late for their candle"),
            gaps_open: register(r, "gaps_opened", "Holes found in id chains"),
            gaps_repaired: register(r, "gaps_repaired", "Holes filled"),
            gaps_lost: register(r, "gaps_lost", "Holes given up"),
            unknown: register(r, "unknown_symbols", "Inputs for symbols that no shard knows"),
            candles_closed: register(r, "candles_closed", "Candles closed"),
            revisions: register(r, "revisions", "Closed candles sent again"),
            frames: register(r, "frames", "Frames encoded"),
            frames_dropped: register(r, "frames_dropped", "Frames dropped before a full worker and read again"),
            missing_dropped: register(r, "missing_dropped", "Repair requests that nobody took"),
            deliveries: register(r, "deliveries", "Frames handed to sessions"),
            bytes: register(r, "sent_bytes", "Bytes written to sockets"),
            connections: register(r, "connections", "Open sessions"),
            outbox_bytes: register(r, "outbox_bytes", "Bytes waiting in outboxes"),
            conflated: register(r, "conflated", "Frames replaced by a newer one"),
            events_lost: register(r, "events_lost", "Events that a full outbox lost"),
            slow_closes: register(r, "slow_closes", "Sessions closed for being slow"),
            clock_jumps: register(r, "clock_jumps", "Jumps of the wall clock"),
            accept_errors: register(r, "accept_errors", "Connections that could not be accepted"),
            refused: register(r, "sessions_refused", "Sessions refused, by close code"),
            latency,
            registry,
        }
    }

    /// Counts a session that was refused with that close code.
    pub fn on_refused(&self, code: u16) {
        self.refused.get_or_create(&[("code", code.to_string())]).inc();
    }

    /// Notes a delay in nanoseconds; less than nothing counts as nothing.
    pub fn on_latency(&self, stage: Stage, nanos: i64) {
        let delay = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        self.latency.get_or_create(&[("stage", stage.name().to_owned())]).observe(delay.as_secs_f64());
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

/// From 50 µs, doubling, to about 1.6 s, and then to a minute.
fn histogram() -> Histogram {
    let micros = (0..16_u32).map(|power| Duration::from_micros(50 << power));
    let seconds = [5, 15, 60].map(Duration::from_secs);
    Histogram::new(micros.chain(seconds).map(|bound| bound.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_latencies_are_written_by_name() {
        let metrics = Metrics::new();
        metrics.trades.inc_by(3);
        metrics.on_refused(4401);
        metrics.on_latency(Stage::Deliver, 100_000);
        metrics.on_latency(Stage::Venue, -5);
        let text = metrics.encode();
        for line in [
            "kandle_trades_total 3",
            "kandle_sessions_refused_total{code=\"4401\"} 1",
            "kandle_latency_seconds_count{stage=\"deliver\"} 1",
            "kandle_latency_seconds_count{stage=\"venue\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
