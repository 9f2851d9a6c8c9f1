//! `kandle serve`: live venues in, streams out.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use engine::{
    market::{Directory, Symbol},
    message::Input,
};
use feeds::{
    record::{RecordConfig, Recorder, Recording},
    supervisor::{FeedsConfig, Sink, Supervisor, Timings, VenueConfig},
};
use node::ShardSender;

use crate::{
    chance,
    cli::ServeArgs,
    config::{Config, RECORD_BYTES_MAX, RecordFolder, TlsFiles},
    runtime::FeedRuntime,
    system::{self, System},
};

/// How long connections to venues are given to close.
const FEEDS_WITHIN: Duration = Duration::from_secs(3);

/// Hands what the feeds give to the shards.
#[derive(Clone)]
struct ShardSink(ShardSender);

impl Sink for ShardSink {
    async fn send(&self, input: Input) {
        // The node takes nothing more once it is shut down; the feeds end then as well.
        let _ = self.0.send(input).await;
    }

    async fn send_all(&self, inputs: &mut Vec<Input>) {
        let _ = self.0.send_all(inputs.drain(..)).await;
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// If the configuration is wrong or the address cannot be listened on.
pub async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let mut config = Config::load(args.config.as_deref(), std::env::vars_os().filter_map(text))?;
    config.listen = args.listen.unwrap_or(config.listen);
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        config.tls = Some(TlsFiles { cert: cert.clone(), key: key.clone() });
    }
    if let Some(dir) = &args.record {
        let bytes_max = config.record.map_or(RECORD_BYTES_MAX, |record| record.bytes_max);
        config.record = Some(RecordFolder { dir: dir.clone(), bytes_max });
    }
    if let (Some(record), Some(bytes_max)) = (&mut config.record, args.record_bytes_max) {
        record.bytes_max = bytes_max;
    }
    let directory = Arc::new(config.directory());
    let aliases = config.symbols.iter().map(|symbol| symbol.alias.clone()).collect();
    let venues = config.venues.iter().map(|venue| (venue.venue, venue.enabled)).collect();
    let mut system = System::start(&config, &directory, aliases, venues).await?;
    warn_without_keys(&config);
    if let Some(history) = &mut system.history {
        history.mend(&config, &directory, &system.since);
    }
    let sink = ShardSink(system.node.sender());
    let (recorder, recording) = record(&config, &directory, &system)?.unzip();
    let feeds = feeds_config(&config, &directory, &system, recorder);
    let runtime = FeedRuntime::start(system::shards(&config))?;
    let inside = runtime.enter();
    let supervisor = Supervisor::start(feeds, &directory, &sink, system.missing, &system.feed_metrics);
    drop(inside);
    system.view.attach_feeds(supervisor.status_handle());
    let address = system.node.local_addr();
    let s = if config.tls.is_some() { "s" } else { "" };
    tracing::info!(%address, symbols = directory.len(), "serving ws{s}://{address}/v1/ws and http{s}://{address}/v1/health");
    let signalled = system::signal().await;
    if tokio::time::timeout(FEEDS_WITHIN, supervisor.shutdown()).await.is_err() {
        tracing::warn!("some connections to venues did not close in time");
    }
    // It writes its last lines while clients take theirs.
    let recording = recording.map(|recording| tokio::task::spawn_blocking(|| recording.finish()));
    system::close(system.node, system.history, system.accounts).await;
    if let Some(recording) = recording {
        recording.await.context("the recorder failed")?;
    }
    signalled.context("cannot wait for a signal")
}

/// A variable whose name and value are text; others are none of ours.
pub(crate) fn text((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
}

/// Starts the recording, if one is wanted.
fn record(config: &Config, directory: &Directory, system: &System) -> anyhow::Result<Option<(Recorder, Recording)>> {
    let Some(RecordFolder { dir, bytes_max }) = config.record.clone() else { return Ok(None) };
    let (late_window_ms, close_delay_ms) = (config.limits.late_window_ms, config.limits.close_delay_ms);
    let clock = Arc::clone(&system.clock);
    let unusable = format!("cannot record into {}", dir.display());
    let record = RecordConfig { dir, bytes_max, late_window_ms, close_delay_ms };
    Recorder::start(record, directory, Arc::new(move || clock.now()), &system.feed_metrics).map(Some).context(unusable)
}

fn feeds_config(config: &Config, directory: &Directory, system: &System, recorder: Option<Recorder>) -> FeedsConfig {
    let down_since = |venue| {
        let is_its = |symbol: Symbol| directory.instrument(symbol).is_some_and(|known| known.venue == venue);
        system.since.iter().filter(|(symbol, _)| is_its(**symbol)).map(|(_, since)| *since).min()
    };
    let venue = |venue: &crate::config::VenueConfig| VenueConfig {
        venue: venue.venue,
        ws_url: venue.ws_url.clone(),
        rest_url: venue.rest_url.clone(),
        down_since: down_since(venue.venue),
        symbols: directory
            .symbols()
            .filter(|(_, instrument)| instrument.venue == venue.venue)
            .map(|(symbol, _)| symbol)
            .collect(),
    };
    let clock = Arc::clone(&system.clock);
    FeedsConfig {
        venues: config.venues.iter().filter(|venue| venue.enabled).map(venue).collect(),
        timings: Timings::default(),
        clock: Arc::new(move || clock.now()),
        seed: chance::seed(),
        recorder,
    }
}

fn warn_without_keys(config: &Config) {
    if config.keys.is_empty() && config.accounts.records.is_none() {
        tracing::warn!(
            "there are neither keys nor accounts: every stream is refused with 4401. Add this to the file of --config and \
             restart: [[keys]] key = \"kai-…\" (8 to 128 characters of your own; kandle.sample.toml shows how to make one \
             up), or turn accounts on with [records]. `kandle demo` needs no configuration"
        );
    }
}
