//! Counters of the feeds, in the Prometheus text format, all labelled by venue.

use std::sync::atomic::{AtomicI64, AtomicU64};

use engine::market::{Refusal, Venue};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The label of most counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VenueLabel {
    venue: &'static str,
}

/// A venue and a reason out of a fixed list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    venue: &'static str,
    reason: &'static str,
}

type ByVenue = Family<VenueLabel, Counter<u64, AtomicU64>>;
type ByReason = Family<ReasonLabel, Counter<u64, AtomicU64>>;

/// What a recording counts; the writer and the venues' tapes share it.
#[derive(Clone, Debug, Default)]
pub struct RecordMetrics {
    lines: ByVenue,
    lost: ByVenue,
    /// Bytes of all files.
    pub bytes: Gauge<i64, AtomicI64>,
    /// 1 while the disk takes nothing.
    pub failing: Gauge<i64, AtomicI64>,
}

impl RecordMetrics {
    /// Lines of a venue that were handed to the disk.
    pub fn lines(&self, venue: Venue) -> Counter {
        self.lines.get_or_create(&VenueLabel { venue: venue.name() }).clone()
    }

    /// Lines of a venue that are in no file.
    pub fn lost(&self, venue: Venue) -> Counter {
        self.lost.get_or_create(&VenueLabel { venue: venue.name() }).clone()
    }
}

/// The families of all venues; [`FeedMetrics::venue`] gives the handles that a connection counts with.
#[derive(Clone, Debug, Default)]
pub struct FeedMetrics {
    frames: ByVenue,
    bytes: ByVenue,
    trades: ByVenue,
    refused: ByReason,
    frame_errors: ByVenue,
    reconnects: ByVenue,
    repairs: ByReason,
    unresolved: ByVenue,
    connections: Family<VenueLabel, Gauge<i64, AtomicI64>>,
    /// Of a recording.
    pub record: RecordMetrics,
}

impl FeedMetrics {
    /// Counters, registered under `feed_…` in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let feed = registry.sub_registry_with_prefix("feed");
        feed.register("frames", "Text frames received", metrics.frames.clone());
        feed.register("bytes", "Bytes of the text frames received", metrics.bytes.clone());
        feed.register("trades", "Trades sent on to the shards", metrics.trades.clone());
        feed.register("refused", "Trades refused at the border, by reason", metrics.refused.clone());
        feed.register("frame_errors", "Frames that could not be parsed", metrics.frame_errors.clone());
        feed.register("reconnects", "Connections that were cut or given up", metrics.reconnects.clone());
        feed.register("repairs", "Holes and minutes fetched afterwards, by outcome", metrics.repairs.clone());
        feed.register("unresolved", "Attempts that failed because the host has no address", metrics.unresolved.clone());
        feed.register("connections", "Live connections", metrics.connections.clone());
        let record = registry.sub_registry_with_prefix("record");
        record.register("lines", "Lines of the recording handed to the disk", metrics.record.lines.clone());
        record.register(
            "lost",
            "Lines that are in no file: the disk was too slow or full",
            metrics.record.lost.clone(),
        );
        record.register("bytes", "Bytes of all recorded files", metrics.record.bytes.clone());
        record.register("failing", "1 while the disk takes nothing", metrics.record.failing.clone());
        metrics
    }

    /// The handles of one venue: counting with them takes no lock.
    pub fn venue(&self, venue: Venue) -> VenueMetrics {
        let label = VenueLabel { venue: venue.name() };
        let refused = Refusal::ALL.map(|reason| {
            let label = ReasonLabel { venue: venue.name(), reason: reason_name(reason) };
            self.refused.get_or_create(&label).clone()
        });
        let repairs = |reason| self.repairs.get_or_create(&ReasonLabel { venue: venue.name(), reason }).clone();
        VenueMetrics {
            frames: self.frames.get_or_create(&label).clone(),
            bytes: self.bytes.get_or_create(&label).clone(),
            trades: self.trades.get_or_create(&label).clone(),
            refused,
            frame_errors: self.frame_errors.get_or_create(&label).clone(),
            reconnects: self.reconnects.get_or_create(&label).clone(),
            repairs_ok: repairs("ok"),
            repairs_failed: repairs("failed"),
            unresolved: self.unresolved.get_or_create(&label).clone(),
            connections: self.connections.get_or_create(&label).clone(),
        }
    }
}

/// The counters of one venue.
#[derive(Clone, Debug)]
pub struct VenueMetrics {
    /// Text frames received.
    pub frames: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Trades sent on.
    pub trades: Counter,
    refused: [Counter; Refusal::ALL.len()],
    /// Frames that could not be parsed.
    pub frame_errors: Counter,
    /// Connections that were cut or given up.
    pub reconnects: Counter,
    /// Holes and minutes that were mended.
    pub repairs_ok: Counter,
    /// Holes and minutes that were given up.
    pub repairs_failed: Counter,
    /// Attempts that failed because the host has no address.
    pub unresolved: Counter,
    /// Live connections.
    pub connections: Gauge,
}

impl VenueMetrics {
    /// Counts a refused trade.
    pub fn refused(&self, reason: Refusal) {
        let at = Refusal::ALL.iter().position(|known| *known == reason);
        if let Some(counter) = at.and_then(|at| self.refused.get(at)) {
            counter.inc();
        }
    }
}

/// The reason as a label: `too_precise`.
pub const fn reason_name(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Malformed => "malformed",
        Refusal::Negative => "negative",
        Refusal::Zero => "zero",
        Refusal::TooPrecise => "too_precise",
        Refusal::Absurd => "absurd",
        Refusal::UnknownSymbol => "unknown_symbol",
        Refusal::UnknownValue => "unknown_value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_names_its_venue() {
        let mut registry = Registry::default();
        let metrics = FeedMetrics::new(&mut registry).venue(Venue::Kraken);
        metrics.frames.inc_by(3);
        metrics.refused(Refusal::TooPrecise);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("feed_frames_total{venue=\"kraken\"} 3"), "{text}");
        assert!(text.contains("feed_refused_total{venue=\"kraken\",reason=\"too_precise\"} 1"), "{text}");
        for reason in Refusal::ALL {
            assert_eq!(reason.to_string(), reason_name(reason));
        }
    }
}
