//! A running system: a node with its HTTP sidecar, fed by venues or by a recording, until a signal ends it.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, thread, time::Duration};

use anyhow::Context;
use api::{Access, App, chat::ChatMetrics};
use auth::Keyring;
use engine::{
    market::{Directory, Symbol, Timestamp, Venue},
    message::{Input, Missing},
};
use feeds::metrics::FeedMetrics;
use node::{Clock, Metrics, Node, NodeConfig, Parts, ShardSender, Tls};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::{
    accounts, chat,
    config::Config,
    history::{History, Running},
    keys::Keys,
    view::LiveView,
};

/// Holes that may wait for repair.
const MISSING_MAX: usize = 4096;
/// How long sessions are given to take their last bytes.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A started node and what its feeds need.
pub struct System {
    /// The node.
    pub node: Node,
    /// What the sidecar shows.
    pub view: Arc<LiveView>,
    /// The one clock.
    pub clock: Arc<Clock>,
    /// Where feeds count.
    pub feed_metrics: FeedMetrics,
    /// Holes that the shards found.
    pub missing: mpsc::Receiver<Missing>,
    /// What keeps candles and trades, if anything does.
    pub history: Option<Running>,
    /// Users and their money, if there are any.
    pub accounts: Option<accounts::Running>,
    /// Since when the feed of each symbol is down, where the store knows.
    pub since: HashMap<Symbol, Timestamp>,
}

impl System {
    /// Starts a node that serves `directory` and, with a store, goes on where the last run ended.
    ///
    /// # Errors
    /// The store or the accounts cannot be used, the address cannot be listened on, or a thread cannot be started.
    pub async fn start(
        config: &Config,
        directory: &Arc<Directory>,
        aliases: Vec<String>,
        venues: Vec<(Venue, bool)>,
    ) -> anyhow::Result<Self> {
        let tls = config.tls.as_ref().map(|files| Tls::load(&files.cert, &files.key)).transpose()?;
        let clock = Arc::new(Clock::start());
        let mut history = match &config.store {
            Some(store) => Some(History::open(store, directory, &clock).await?),
            None => None,
        };
        let before = match &history {
            Some(history) => history.before().await,
            None => Vec::new(),
        };
        let metrics = Arc::new(Metrics::new());
        let mut registry = Registry::with_prefix("kandle");
        let (feed_metrics, chat_metrics) = (FeedMetrics::new(&mut registry), ChatMetrics::new(&mut registry));
        let (shared, counted) = (Arc::clone(&clock), Arc::clone(&metrics));
        let view = Arc::new(LiveView::new(shared, Arc::clone(directory), aliases, venues, counted, registry));
        let (holes, missing) = mpsc::channel(MISSING_MAX);
        let node_config = node_config(config);
        let keepers = history.as_mut().map(|history| history.keepers(node_config.shards)).transpose()?;
        let since = down_since(&before);
        let keyring = Arc::new(Keyring::default());
        let authenticator = Arc::new(Keys::new(config, Arc::clone(&keyring), Arc::clone(&clock))?);
        let accounts = match &config.accounts.records {
            Some(url) => {
                let now = ledger::Timestamp::new(clock.now().0.unsigned_abs()).unwrap_or_default();
                let chat = chat::open(&config.llm, chat_metrics, now).await?;
                let opened = accounts::Running::open(
                    config.accounts.clone(),
                    config.stripe.clone(),
                    chat,
                    url.clone(),
                    Arc::clone(&keyring),
                    Arc::clone(&clock),
                );
                // The database has threads, and each has the rank of the one that starts it: of one that answers.
                Some(tokio::spawn(opened).await.context("the accounts")??)
            }
            None => None,
        };
        let open = accounts.as_ref().map(|running| Arc::clone(&running.accounts));
        let access = Access::new(config.accounts.tiers.clone(), keyring, open, config.http.proxies.clone());
        let app = App { view: Arc::clone(&view) as Arc<dyn api::View>, access: Arc::new(access) };
        let parts = Parts {
            directory: Arc::clone(directory),
            authenticator,
            fallback: api::router(app, &config.http.origins),
            metrics,
            clock: Arc::clone(&clock),
            missing: holes,
            tls,
            keepers: keepers.unwrap_or_default(),
            before,
        };
        let node = Node::start(node_config, parts)?;
        view.attach_node(&node);
        let history = history.map(|history| {
            view.attach_history(history.store(), history.writer());
            history.start(&node)
        });
        Ok(Self { node, view, clock, feed_metrics, missing, history, accounts, since })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.node.local_addr()
    }
}

/// Closes all clients with 1012, joins all threads and stores what is left.
pub async fn close(node: Node, history: Option<Running>, accounts: Option<accounts::Running>) {
    tracing::info!("closing clients with 1012; they may resume after the restart");
    node.shutdown(CLOSE_WITHIN).await;
    if let Some(history) = history {
        history.close().await;
    }
    if let Some(accounts) = accounts {
        accounts.close().await;
    }
}

/// Up to which moment the store tells about each symbol.
fn down_since(before: &[Input]) -> HashMap<Symbol, Timestamp> {
    let down = before.iter().filter_map(|input| match input {
        Input::FeedDown { symbols, since } => Some(symbols.iter().map(move |symbol| (*symbol, *since))),
        _ => None,
    });
    down.flatten().collect()
}

/// How many shards there are.
pub fn shards(config: &Config) -> usize {
    if config.shards == 0 { (cores() / 4).max(1) } else { config.shards }
}

/// The processors that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn node_config(config: &Config) -> NodeConfig {
    let (cores, shards) = (cores(), shards(config));
    let workers = if config.workers == 0 { cores.saturating_sub(shards).max(1) } else { config.workers };
    let usual = NodeConfig::default();
    NodeConfig {
        listen: config.listen,
        workers,
        shards,
        // Threads that share a processor are better placed by the kernel.
        pin: config.pin && workers + shards <= cores,
        io: config.io,
        emit_ms: config.emit_ms,
        send_buffer_bytes: config.limits.send_buffer_bytes,
        write_deadline_ms: config.limits.write_deadline_ms,
        limits: node::Limits {
            channels_per_connection: config.limits.channels_per_connection,
            late_window_ms: config.limits.late_window_ms,
            close_delay_ms: config.limits.close_delay_ms,
            outbox_bytes: config.limits.outbox_bytes,
            connections: config.limits.connections,
        },
        deflate: config.deflate,
        ..usual
    }
}

/// Gives up every hole that the shards find: a recording has no venue to ask.
pub async fn give_up_holes(mut missing: mpsc::Receiver<Missing>, sender: ShardSender) {
    while let Some(hole) = missing.recv().await {
        let Missing { symbol, first_id, last_id, .. } = hole;
        if sender.send(Input::GapLost { symbol, first_id, last_id }).await.is_err() {
            return;
        }
    }
}

/// Waits for SIGTERM or Ctrl-C.
///
/// # Errors
/// If the process may not listen to signals.
pub async fn signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("cannot listen to Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    tracing::info!("asked to stop");
    Ok(())
}
