//! Counters of the language models, in the Prometheus text format. Models and providers are those of the configuration, so that
//! a client adds no labels.

use std::sync::atomic::AtomicI64;

use ledger::Micros;
use llm::{Attempt, End};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Bounds in seconds: from a model beside this program to one that thinks for minutes.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    provider: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    provider: String,
    model: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    provider: String,
    model: String,
    kind: &'static str,
}

/// What is counted of all calls.
#[derive(Clone, Debug)]
pub struct ChatMetrics {
    attempts: Family<OutcomeLabel, Counter>,
    tokens: Family<KindLabel, Counter>,
    cost: Family<ModelLabel, Counter>,
    first_token: Family<ModelLabel, Histogram>,
    latency: Family<ModelLabel, Histogram>,
    open: Gauge<i64, AtomicI64>,
    /// Calls for which no money was set aside.
    pub(super) unpaid: Counter,
    /// Settlements, voids and rows that could not be written.
    pub(super) unwritten: Counter,
}

impl ChatMetrics {
    /// Counters, registered under `llm_…` in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(SECONDS);
        let metrics = Self {
            attempts: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            first_token: Family::new_with_constructor(seconds),
            latency: Family::new_with_constructor(seconds),
            open: Gauge::default(),
            unpaid: Counter::default(),
            unwritten: Counter::default(),
        };
        let llm = registry.sub_registry_with_prefix("llm");
        llm.register("attempts", "Attempts that have ended, by outcome", metrics.attempts.clone());
        llm.register("tokens", "Tokens that were read and written, by kind", metrics.tokens.clone());
        llm.register("cost_micros", "What was charged for answers, in micros", metrics.cost.clone());
        let (first_token, latency) = (metrics.first_token.clone(), metrics.latency.clone());
        llm.register_with_unit("first_token", "From an attempt to its first token", Unit::Seconds, first_token);
        llm.register_with_unit("latency", "From an attempt to its end", Unit::Seconds, latency);
        llm.register("open", "Attempts under way", metrics.open.clone());
        llm.register("unpaid", "Calls for which no money was set aside", metrics.unpaid.clone());
        llm.register("unwritten", "Rows of usage and charges that could not be written", metrics.unwritten.clone());
        metrics
    }

    pub(super) fn begin(&self) {
        self.open.inc();
    }

    /// Nobody was asked.
    pub(super) fn forget(&self) {
        self.open.dec();
    }

    /// An attempt that was begun has ended.
    pub(super) fn end(&self, attempt: &Attempt, end: &End) {
        self.open.dec();
        let config = &attempt.model.config;
        let (provider, model) = (config.provider.clone(), config.id.clone());
        let outcome = end.outcome.as_str();
        let label = ModelLabel { provider: provider.clone(), model: model.clone() };
        self.latency.get_or_create(&label).observe(end.latency.as_secs_f64());
        if let Some(first_token) = end.first_token {
            self.first_token.get_or_create(&label).observe(first_token.as_secs_f64());
        }
        if let Some(usage) = &end.usage {
            let tokens = &usage.tokens;
            let kinds = [
                ("input", tokens.input),
                ("cache_read", tokens.cache_read),
                ("cache_write", tokens.cache_write),
                ("output", tokens.output),
                ("reasoning", tokens.reasoning),
            ];
            for (kind, count) in kinds {
                let label = KindLabel { provider: provider.clone(), model: model.clone(), kind };
                self.tokens.get_or_create(&label).inc_by(count);
            }
        }
        self.attempts.get_or_create(&OutcomeLabel { provider, model, outcome }).inc();
    }

    /// An answer was charged.
    pub(super) fn charge(&self, attempt: &Attempt, charged: Micros) {
        let config = &attempt.model.config;
        let label = ModelLabel { provider: config.provider.clone(), model: config.id.clone() };
        self.cost.get_or_create(&label).inc_by(charged.get());
    }
}
