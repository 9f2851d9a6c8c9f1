//! `kandle simulate`: a node fed by a synthetic market, for load tests. Every id says when its trade was due.

use std::{
    io::{BufRead, Write},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use api::tiers::ENTERPRISE;
use engine::{
    market::{Directory, Instrument, Symbol, Timestamp, Trade, Venue},
    message::Input,
    number::Scale,
};
use feeds::sim::{
    SIM_IDS, Sim,
    due::DueIds,
    metronome::Metronome,
    rounds::{Rounds, busiest},
};
use node::{NodeConfig, ShardSender};

use crate::{
    chance,
    cli::{Profile, SimulateArgs},
    config::{Config, KeyConfig, KeyText},
    demo,
    system::{self, System},
};

const PRICE_DECIMALS: u8 = 2;
const QUANTITY_DECIMALS: u8 = 5;
/// The stretch of the recording that is played: its busiest minute.
const RECORDED_SECONDS: i64 = 64;
/// The longest sleep, so that a control line is heard soon.
const SLEEP_MAX: Duration = Duration::from_millis(5);
const QUEUE_WAIT: Duration = Duration::from_micros(200);
/// The name of the source's thread; a load test leaves its processor time out.
const THREAD: &str = "simulated-feed";

/// What a line of standard input asks for.
enum Control {
    Rate(u32),
    Profile(Profile),
    Stop,
}

/// The markets to choose from; the one that plays goes on from where it was left.
struct Markets {
    profile: Profile,
    rate: u32,
    steady: Metronome,
    bursts: Sim,
    recorded: Rounds,
    ids: DueIds,
}

/// Serves the market until a signal, a `stop` line or the end of standard input ends it.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    let (directory, symbols) = directory(args.symbols)?;
    let markets = Markets::new(args, &directory, &symbols)?;
    let directory = Arc::new(directory);
    let key = chance::random_key("kai-sim-").context("no key could be made")?;
    let config = config(args, &key);
    let aliases = (0..args.symbols).map(|index| format!("S{index}")).collect();
    let system = System::start(&config, &directory, aliases, vec![(Venue::Sim, true)]).await?;
    print(args, &system, &key)?;
    let (controls, heard) = channel();
    let (ended, end) = tokio::sync::oneshot::channel();
    // Kept to the end: a feed without a sender of controls would stop.
    let _kept = controls.clone();
    if args.control {
        // It sleeps in a read until its parent closes the pipe; the exit does not wait for it.
        thread::spawn(move || listen(&controls));
    }
    let System { node, missing, history, accounts, .. } = system;
    let sender = node.sender();
    let feed = thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
        markets.play(&sender, &heard);
        let _ = ended.send(());
    })?;
    let holes = tokio::spawn(system::give_up_holes(missing, node.sender()));
    tokio::select! {
        signalled = system::signal() => signalled?,
        _ = end => {}
    }
    holes.abort();
    system::close(node, history, accounts).await;
    // The feed ends by itself once the node takes nothing more.
    drop(feed);
    Ok(())
}

fn directory(count: u32) -> anyhow::Result<(Directory, Vec<Symbol>)> {
    let scale = |decimals| Scale::new(decimals).context("a scale within bounds");
    let (price_scale, quantity_scale) = (scale(PRICE_DECIMALS)?, scale(QUANTITY_DECIMALS)?);
    let mut directory = Directory::new();
    let mut symbols = Vec::new();
    for index in 0..count {
        let name = format!("S{index}");
        let instrument =
            Instrument { venue: Venue::Sim, name: name.as_str().into(), price_scale, quantity_scale, ids: SIM_IDS };
        symbols.push(directory.register(Some(&name), instrument)?);
    }
    Ok((directory, symbols))
}

fn config(args: &SimulateArgs, key: &KeyText) -> Config {
    let mut config = Config { listen: args.listen, store: None, ..Config::default() };
    config.accounts.records = None;
    (config.workers, config.shards, config.emit_ms) = (args.workers, args.shards, args.emit_ms);
    config.limits.channels_per_connection = args.channels_per_connection;
    config.limits.outbox_bytes = args.outbox_bytes;
    config.limits.send_buffer_bytes = args.send_buffer_bytes;
    config.limits.write_deadline_ms = args.write_deadline_ms;
    let connections = u32::try_from(NodeConfig::default().limits.connections).unwrap_or(u32::MAX);
    config.keys = vec![KeyConfig { key: key.clone(), connections, tier: ENTERPRISE.to_owned() }];
    config
}

fn print(args: &SimulateArgs, system: &System, key: &KeyText) -> anyhow::Result<()> {
    let (address, key, pid) = (system.address(), key.reveal(), std::process::id());
    let mut out = std::io::stdout().lock();
    if args.json {
        let (url, ws_url) = (format!("http://{address}"), format!("ws://{address}/v1/ws"));
        writeln!(out, r#"{{"url":"{url}","ws_url":"{ws_url}","api_key":"{key}","pid":{pid}}}"#)?;
    } else {
        writeln!(
            out,
            "kandle serves a synthetic market of {} symbols, S0 and so on, on ws://{address}/v1/ws\nkey {key}\n\n  \
             KANDLE_API_KEY={key} kandle loadtest follow trades.S0 market.S0.1s --address {address} --server-pid {pid}\n\n\
             Ctrl-C ends it.",
            args.symbols
        )?;
    }
    Ok(out.flush()?)
}

fn listen(controls: &std::sync::mpsc::Sender<Control>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let control = match line.trim().split_once(' ') {
            Some(("rate", rate)) => rate.parse().ok().map(Control::Rate),
            Some(("profile", name)) => clap::ValueEnum::from_str(name, false).ok().map(Control::Profile),
            None if line.trim() == "stop" => Some(Control::Stop),
            _ => None,
        };
        let Some(control) = control else {
            tracing::warn!(line, "not understood; use: rate N, profile NAME, stop");
            continue;
        };
        if controls.send(control).is_err() {
            return;
        }
    }
    let _ = controls.send(Control::Stop);
}

impl Markets {
    fn new(args: &SimulateArgs, directory: &Directory, symbols: &[Symbol]) -> anyhow::Result<Self> {
        let recorded = recorded().context("the bundled recording")?;
        Ok(Self {
            profile: args.profile,
            rate: args.rate,
            steady: Metronome::new(symbols, args.rate),
            bursts: Sim::new(args.seed.unwrap_or_else(chance::seed), directory, symbols, args.rate),
            recorded: Rounds::new(symbols, recorded),
            ids: DueIds::default(),
        })
    }

    /// Sends what is due until it is told to stop or nobody takes it.
    fn play(mut self, sender: &ShardSender, heard: &Receiver<Control>) {
        let mut trades = Vec::new();
        loop {
            let now = now();
            let has_more = self.step(now, &mut trades);
            for mut trade in trades.drain(..) {
                self.ids.stamp(&mut trade);
                if !send(sender, trade) {
                    return;
                }
            }
            let control = match self.sleep(has_more) {
                Some(sleep) => heard.recv_timeout(sleep).map_err(|error| error == RecvTimeoutError::Disconnected),
                None => heard.try_recv().map_err(|error| error == TryRecvError::Disconnected),
            };
            match control {
                Ok(Control::Rate(rate)) => {
                    self.rate = rate;
                    self.steady.set_rate(rate, self::now());
                    self.bursts.set_rate(rate);
                }
                Ok(Control::Profile(profile)) => {
                    self.profile = profile;
                    self.steady.set_rate(self.rate, self::now());
                    self.recorded.restart();
                }
                Ok(Control::Stop) | Err(true) => return,
                Err(false) => {}
            }
        }
    }

    fn step(&mut self, now: Timestamp, out: &mut Vec<Trade>) -> bool {
        match self.profile {
            Profile::Steady => self.steady.step(now, out),
            Profile::Recorded => self.recorded.step(now, out),
            Profile::Bursts => {
                self.bursts.step(now, out);
                false
            }
        }
    }

    /// How long until something is due; nothing if it is due now.
    fn sleep(&self, has_more: bool) -> Option<Duration> {
        if has_more {
            return None;
        }
        let due = match self.profile {
            Profile::Steady => self.steady.next_due(),
            Profile::Recorded => self.recorded.next_due(),
            Profile::Bursts => Some(now().plus(1_000_000)),
        };
        let Some(due) = due else { return Some(SLEEP_MAX) };
        let left = due.0.saturating_sub(now().0);
        (left > 0).then(|| Duration::from_nanos(left.unsigned_abs()).min(SLEEP_MAX))
    }
}

/// The recorded trades of BTCUSDT around its busiest second, in the scales of the simulation.
fn recorded() -> anyhow::Result<Vec<Trade>> {
    let scale = |decimals| Scale::new(decimals).context("a scale within bounds");
    let mut directory = Directory::new();
    let (price_scale, quantity_scale) = (scale(PRICE_DECIMALS)?, scale(QUANTITY_DECIMALS)?);
    let ids = Venue::Binance.id_rule();
    let name = demo::INSTRUMENT.into();
    directory.register(None, Instrument { venue: Venue::Binance, name, price_scale, quantity_scale, ids })?;
    Ok(busiest(&demo::recorded(&directory)?, RECORDED_SECONDS).to_vec())
}

/// By the clock that the load-test client reads as well.
fn now() -> Timestamp {
    Timestamp(i64::try_from(loadtest::clock::now_us()).unwrap_or(i64::MAX).saturating_mul(1_000))
}

/// Waits while the shard is busy; false once it takes nothing more.
fn send(sender: &ShardSender, trade: Trade) -> bool {
    let mut waiting = Input::Trade(trade);
    loop {
        match sender.try_send(waiting) {
            Ok(None) => return true,
            Ok(Some(full)) => waiting = full,
            Err(_) => return false,
        }
        thread::sleep(QUEUE_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_market_peaks_right_after_its_start() {
        let trades = recorded().unwrap();
        let second = |trade: &Trade| trade.ts_event.0.div_euclid(1_000_000_000);
        let peak = trades.chunk_by(|a, b| second(a) == second(b)).max_by_key(|part| part.len()).unwrap();
        assert!(peak.len() > 900 && second(&peak[0]) - second(&trades[0]) <= 1, "{}", peak.len());
        assert!(trades.iter().all(|trade| trade.check(false) == Ok(())));
    }
}
