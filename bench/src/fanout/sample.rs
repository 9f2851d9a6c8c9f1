//! What a run came to.

use crate::tally::Tally;

/// What was counted up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) at_ns: u64,
    pub(crate) delivered: u64,
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    /// Run time of the server, of the client, and of everybody.
    pub(crate) server_ns: u64,
    pub(crate) client_ns: u64,
    pub(crate) busy_ns: u64,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) deliveries_per_s: f64,
    /// p50, p99, p99.9 in nanoseconds from the intended publication.
    pub(crate) latency_ns: [u64; 3],
    pub(crate) server_ns_per_delivery: f64,
    /// Cores.
    pub(crate) server_cpu: f64,
    pub(crate) client_cpu: f64,
    pub(crate) foreign_cpu: f64,
    pub(crate) frames_per_read: f64,
    pub(crate) bytes_per_delivery: f64,
    /// Never came; came out of order or twice; connections that were closed.
    pub(crate) lost: u64,
    pub(crate) disordered: u64,
    pub(crate) closed: u64,
}

impl Sample {
    /// Whether everything came, once and in order.
    pub(crate) fn is_valid(&self) -> bool {
        self.lost == 0 && self.disordered == 0 && self.closed == 0
    }

    /// From two moments, and the account at the end.
    pub(crate) fn between(before: &Counts, after: &Counts, tally: &Tally, closed: u64) -> Self {
        let span = (after.at_ns - before.at_ns).max(1) as f64;
        let deliveries = (after.delivered - before.delivered) as f64;
        let each = deliveries.max(1.0);
        // A thread that ends takes its run time with it.
        let server = after.server_ns.saturating_sub(before.server_ns);
        let client = after.client_ns.saturating_sub(before.client_ns);
        let foreign = after.busy_ns.saturating_sub(before.busy_ns).saturating_sub(server + client);
        Self {
            deliveries_per_s: deliveries / span * 1e9,
            latency_ns: [0.5, 0.99, 0.999].map(|quantile| tally.latency(quantile)),
            server_ns_per_delivery: server as f64 / each,
            server_cpu: server as f64 / span,
            client_cpu: client as f64 / span,
            foreign_cpu: foreign as f64 / span,
            frames_per_read: deliveries / (after.reads - before.reads).max(1) as f64,
            bytes_per_delivery: (after.bytes - before.bytes) as f64 / each,
            lost: tally.missing(),
            disordered: tally.disordered(),
            closed,
        }
    }
}
