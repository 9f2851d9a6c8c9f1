//! `kandle demo`: eleven minutes of recorded trades, bundled, replayed in a loop as if they happened now.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, bail};
use api::{
    limits::Quota,
    tiers::{DEVELOPER, Tier},
};
use auth::{AllowList, ApiKey, Email};
use engine::market::{Directory, Trade, Venue};
use node::Clock;
use records::{RecordsUrl, Scope};
use store::StoreUrl;

use crate::{
    accounts::{
        self,
        make::{self, KeyWish, UserWish},
    },
    cli::{DemoArgs, Speed},
    config::{Config, StoreConfig},
    pacer::{Pacer, Stopped},
    replay::{TradeSink, frames::FrameReader, tally::Tally},
    system::{self, System},
    welcome::Welcome,
};

const RECORDING: &[u8] = include_bytes!("../demo/binance_btcusdt_trades_2024-08-08.jsonl.zst");
/// The recording is 3.8 MB of text.
const RECORDING_BYTES_MAX: u64 = 16 << 20;
const ALIAS: &str = "BTC";
/// The tier of the demo's user, and its 10 KAI.
const TIER: &str = DEVELOPER;
const PLAY_MICROS: u64 = 10_000_000;
/// The venue's name of what was recorded.
pub(crate) const INSTRUMENT: &str = "BTCUSDT";
/// How much of the past is there at the start. It must lie inside the late window, or the node would drop it.
const HISTORY: i64 = 330_000_000_000;
const LATE_WINDOW_MS: i64 = 400_000;
/// Between the last trade of one round and the first of the next.
const PAUSE: i64 = 250_000_000;

impl TradeSink for Vec<Trade> {
    fn on_trade(&mut self, trade: &Trade, _line: u64, tally: &mut Tally) {
        tally.outcome(trade, engine::fold::Outcome::Applied);
        self.push(*trade);
    }
}

/// Serves the bundled recording until a signal ends it.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let mut directory = Directory::new();
    let instrument = feeds::symbols::instrument(Venue::Binance, INSTRUMENT);
    directory.register(Some(ALIAS), instrument).context("the demo's symbol")?;
    let trades = recorded(&directory)?;
    let directory = Arc::new(directory);
    // What the demo plays is no history worth keeping: it lasts as long as the demo does, and so does its play money.
    let folder = tempfile::tempdir().context("no folder for the demo's data")?;
    let mut config = Config { listen: args.listen, ..Config::default() };
    config.limits.late_window_ms = LATE_WINDOW_MS;
    config.store = Some(StoreConfig::new(StoreUrl::Redb(folder.path().join("history.redb")), None));
    config.accounts.records = Some(RecordsUrl::parse(&format!("sqlite:{}/records.db", folder.path().display()))?);
    config.accounts.secret_file = folder.path().join("secret");
    config.accounts.tiers.set(TIER, roomy());
    let key = account(&config).await.context("the demo's account")?;
    let venues = vec![(Venue::Binance, true)];
    let system = System::start(&config, &directory, vec![ALIAS.to_owned()], venues).await.with_context(|| {
        format!("the demo cannot listen on {}; `--listen 127.0.0.1:0` takes a free port", args.listen)
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    let pacer = Pacer::new(Arc::clone(&system.clock), system.node.sender(), Arc::clone(&stop), Speed::Times(1));
    let playing = tokio::task::spawn_blocking(move || play(pacer, &trades));
    let has_model = cfg!(feature = "local") && config.llm.local_model.is_file();
    Welcome { address: system.address(), key: key.reveal(), symbol: ALIAS, has_account: true, has_model }
        .print(args.json)?;
    let System { node, missing, history, accounts, .. } = system;
    let holes = tokio::spawn(system::give_up_holes(missing, node.sender()));
    let signalled = system::signal().await;
    stop.store(true, Ordering::Relaxed);
    holes.abort();
    playing.await.context("the replay failed")?;
    system::close(node, history, accounts).await;
    signalled
}

/// Whoever tries things out must not wait.
fn roomy() -> Tier {
    let quota = Some(Quota::new(6_000, 6_000));
    Tier { quota, connections: None, runs: None, cap_micros: Some(500_000_000) }
}

/// Makes a user with play money, and a key.
async fn account(config: &Config) -> anyhow::Result<ApiKey> {
    let url = config.accounts.records.as_ref().context("no database")?;
    let clock = Arc::new(Clock::start());
    let records = accounts::open(url, &clock).await?;
    let now = ledger::Timestamp::new(clock.now().0.unsigned_abs()).unwrap_or_default();
    let email = Email::parse("demo@kandle.example")?;
    let credit = ledger::Micros::new(PLAY_MICROS).unwrap_or_default();
    let cap = accounts::cap(roomy().cap_micros);
    let user = UserWish { email: &email, password: None, tier: TIER, cap, credit };
    let user = make::user(&records, user, now).await?.id;
    let (name, scope, allowed) = ("demo", Scope::Admin, &AllowList::default());
    let key = KeyWish { user, name, scope, cap: None, allowed, expires: None };
    let (key, _) = make::key(&records, key, now).await?;
    records.close().await;
    Ok(key)
}

/// The trades of the bundled frames, read by the venue's own parser.
pub(crate) fn recorded(directory: &Directory) -> anyhow::Result<Vec<Trade>> {
    let mut text = Vec::new();
    let decoder = zstd::stream::Decoder::with_buffer(RECORDING).context("the bundled recording is damaged")?;
    decoder.take(RECORDING_BYTES_MAX).read_to_end(&mut text).context("the bundled recording is damaged")?;
    let mut reader = FrameReader::new(Venue::Binance, directory.clone(), Vec::new());
    let (mut trades, mut tally) = (Vec::new(), Tally::default());
    for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        reader.on_line(line, number, &mut trades, &mut tally);
    }
    if trades.is_empty() || !tally.refused().is_empty() {
        bail!("the bundled recording has lines that are refused: {:?}", tally.refused());
    }
    Ok(trades)
}

/// Plays round after round; ids and times go on from one to the next, so that no round shows a gap.
fn play(mut pacer: Pacer, trades: &[Trade]) {
    let (Some(first), Some(last)) = (trades.first(), trades.last()) else { return };
    let period = last.ts_event.0.saturating_sub(first.ts_event.0).saturating_add(PAUSE);
    let ids = last.id.saturating_sub(first.id).saturating_add(1);
    pacer.begin(first.ts_event, HISTORY);
    for round in 0_u32.. {
        let moved = |trade: &Trade| Trade {
            ts_event: trade.ts_event.plus(period.saturating_mul(i64::from(round))),
            first_id: trade.first_id.saturating_add(ids.saturating_mul(u64::from(round))),
            id: trade.id.saturating_add(ids.saturating_mul(u64::from(round))),
            ..*trade
        };
        let played: Result<(), Stopped> = trades.iter().try_for_each(|trade| pacer.send(&moved(trade)));
        if played.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_frames_are_whole_and_in_order() {
        let mut directory = Directory::new();
        directory.register(Some(ALIAS), feeds::symbols::instrument(Venue::Binance, INSTRUMENT)).unwrap();
        let trades = recorded(&directory).unwrap();
        assert_eq!(trades.len(), 19_904);
        assert!(trades.windows(2).all(|pair| pair[0].id + 1 == pair[1].id && pair[0].ts_event <= pair[1].ts_event));
        assert!(RECORDING.len() < 5_000_000);
    }
}
