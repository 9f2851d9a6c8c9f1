//! `kandle backfill` as a user calls it, against venues in this process that page, limit and cut as the real ones do.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::{Price, Timestamp, Venue},
    number::{Scale, parse_amount, parse_decimal},
};
use feeds::backfill::CandleClient;
use kandle::backfill::mend::{Mend, mend};
use store::{Batch, Keep, Scales, Series, Source, Store, StoreUrl, StoredCandle};

use crate::{
    process::{command, tempdir},
    support::{stored, stored_row},
    venue_rest::{MINUTE_MS, Minute, VenueRest, market},
};

struct Backfill {
    folder: PathBuf,
    config: String,
}

/// What a run said, and its table: wanted, written, refused, too old, missing.
struct Ran {
    is_ok: bool,
    said: String,
}

impl Ran {
    fn counts(&self, source: &str) -> Vec<u64> {
        let line = self.said.lines().find(|line| line.starts_with(source)).unwrap_or_else(|| panic!("{}", self.said));
        line.split_whitespace().skip(2).map(|count| count.parse().unwrap()).collect()
    }
}

impl Backfill {
    fn new(venues: &[&VenueRest]) -> Self {
        let folder = tempdir();
        let config = venues.iter().map(|venue| format!("[venues.{}]\nrest_url = \"{}\"\n", venue.venue, venue.url));
        Self { folder, config: config.collect() }
    }

    fn store(&self) -> PathBuf {
        self.folder.join("history.redb")
    }

    fn command(&self, symbols: &str, from: i64, to: i64) -> std::process::Command {
        let config = self.folder.join("kandle.toml");
        std::fs::write(&config, &self.config).unwrap();
        let mut command = command(&["backfill", "--symbols", symbols, "--interval", "1m"]);
        command.args(["--from", &from.to_string(), "--to", &to.to_string()]).arg("--config").arg(config);
        command.arg("--store").arg(format!("redb:{}", self.store().display())).stderr(Stdio::piped());
        command
    }

    fn run(&self, symbols: &str, from: i64, to: i64) -> Ran {
        let output = self.command(symbols, from, to).output().unwrap();
        Ran { is_ok: output.status.success(), said: String::from_utf8(output.stderr).unwrap() }
    }

    /// Puts candles into the store beforehand.
    fn put(&self, source: &str, candles: &[StoredCandle]) {
        let mut batch = Batch::new();
        for candle in candles {
            batch.candle(&Source::parse(source).unwrap(), *candle).unwrap();
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = Store::open(&StoreUrl::Redb(self.store()), Keep::default()).await.unwrap();
            store.write(&Arc::new(batch)).await.unwrap();
        });
    }
}

/// What the store should hold of these minutes: their row and state.
fn want(minutes: &[Minute]) -> Vec<(String, State)> {
    let row = |minute: &Minute| (minute.row(), if minute.is_quiet { State::Flat } else { State::Repaired });
    minutes.iter().map(row).collect()
}

fn have(store: &Path, source: &str) -> Vec<(String, State)> {
    stored(store, source, Interval::M1).iter().map(|stored| (stored_row(stored), stored.candle.state)).collect()
}

const SOURCES: [&str; 6] =
    ["binance:BTCUSDT", "coinbase:BTC-USD", "kraken:BTC/USD", "bybit:BTCUSDT", "okx:BTC-USDT", "hyperliquid:BTC"];

#[test]
fn every_venue_gives_each_minute_once_whatever_its_pages_limits_and_cuts() {
    let minutes = market(1300);
    let venues: Vec<VenueRest> = Venue::LIVE.iter().map(|venue| VenueRest::open(*venue, minutes.clone())).collect();
    for venue in &venues {
        // The first answers: a limit, a failure, half a page.
        venue.spoil(&["429 Too Many Requests", "503 Service Unavailable", "cut"]);
    }
    let backfill = Backfill::new(&venues.iter().collect::<Vec<_>>());
    // Each end has a minute that was traded in, and the last two minutes may not be over.
    let asked = &minutes[3..1290];
    let (from, to) = (asked[0].ms, asked[asked.len() - 1].ms + MINUTE_MS);
    let ran = backfill.run(&SOURCES.join(","), from, to);
    assert!(ran.is_ok, "{}", ran.said);
    for (venue, source) in venues.iter().zip(SOURCES) {
        let wanted = asked.len() as u64;
        let counts = ran.counts(source);
        if venue.venue == Venue::Kraken {
            let [_, written, _, old, missing] = counts[..] else { panic!("{counts:?}") };
            assert!(written + old == wanted && missing == old && (700..720).contains(&written), "{counts:?}");
            let kept = &asked[usize::try_from(old).unwrap()..];
            assert_eq!(have(&backfill.store(), source), want(kept));
        } else {
            assert_eq!(counts, [wanted, wanted, 0, 0, 0], "{source}\n{}", ran.said);
            assert_eq!(have(&backfill.store(), source), want(asked), "{source}");
        }
        let limited = venue.waits()[0];
        assert!(limited.as_millis() >= 1000, "{source} asked again after {limited:?} of one second");
    }
    // What is there is not asked for again.
    let hits: Vec<usize> = venues.iter().map(VenueRest::hits).collect();
    let again = backfill.run(&SOURCES.join(","), from, to);
    assert!(again.is_ok, "{}", again.said);
    assert_eq!(venues.iter().map(VenueRest::hits).collect::<Vec<_>>(), hits);
}

#[test]
fn what_a_venue_tells_of_trades_is_kept_and_the_rest_is_unknown() {
    let minutes = market(40);
    let venues = [Venue::Binance, Venue::Bybit, Venue::Kraken].map(|venue| VenueRest::open(venue, minutes.clone()));
    let backfill = Backfill::new(&venues.iter().collect::<Vec<_>>());
    let ran = backfill.run("binance:BTCUSDT,bybit:BTCUSDT,kraken:BTC/USD", minutes[1].ms, minutes[2].ms);
    assert!(ran.is_ok, "{}", ran.said);
    let of = |source| stored(&backfill.store(), source, Interval::M1)[0];
    let [binance, bybit, kraken] = ["binance:BTCUSDT", "bybit:BTCUSDT", "kraken:BTC/USD"].map(of);
    let decimals = binance.scales.price.decimals() + binance.scales.quantity.decimals();
    let quote = parse_amount(minutes[1].quote().as_bytes(), decimals).unwrap();
    assert_eq!((binance.candle.quote_volume, binance.candle.trades), (quote, minutes[1].trades));
    assert!(binance.candle.buy_volume > 0 && !binance.candle.unknown.sides && binance.candle.unknown.trades);
    assert_eq!((bybit.candle.quote_volume, bybit.candle.unknown.sides), (quote, true));
    assert_eq!((kraken.candle.trades, kraken.candle.unknown.quote), (minutes[1].trades, true));
}

#[test]
fn a_backfill_that_is_killed_goes_on_and_ends_as_if_nothing_had_happened() {
    let minutes = market(1500);
    let venue = VenueRest::open(Venue::Coinbase, minutes.clone());
    let backfill = Backfill::new(&[&venue]);
    let asked = &minutes[3..1480];
    let (from, to) = (asked[0].ms, asked[asked.len() - 1].ms + MINUTE_MS);
    for hits in [2, 4, 5] {
        let mut child = backfill.command("coinbase:BTC-USD", from, to).spawn().unwrap();
        venue.until_hits(hits);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = have(&backfill.store(), "coinbase:BTC-USD").len();
    assert!(before >= 200, "what came before a kill is kept: {before}");
    let ran = backfill.run("coinbase:BTC-USD", from, to);
    assert!(ran.is_ok, "{}", ran.said);
    assert_eq!(ran.counts("coinbase:BTC-USD")[0], (asked.len() - before) as u64, "only the rest was asked for");
    let undisturbed = Backfill::new(&[&venue]);
    assert!(undisturbed.run("coinbase:BTC-USD", from, to).is_ok);
    assert_eq!(have(&backfill.store(), "coinbase:BTC-USD"), want(asked));
    assert_eq!(
        stored(&backfill.store(), "coinbase:BTC-USD", Interval::M1),
        stored(&undisturbed.store(), "coinbase:BTC-USD", Interval::M1)
    );
}

#[test]
fn silence_is_flat_only_where_the_venue_gave_a_candle_on_both_sides() {
    let mut minutes = market(100);
    for minute in &mut minutes[..10] {
        minute.is_quiet = true;
    }
    let venue = VenueRest::open(Venue::Coinbase, minutes.clone());
    let backfill = Backfill::new(&[&venue]);
    let ran = backfill.run("coinbase:BTC-USD", minutes[0].ms, minutes[60].ms);
    // Ten minutes before the first candle: the market may not have been open.
    assert_eq!(ran.counts("coinbase:BTC-USD"), [60, 50, 0, 0, 10], "{}", ran.said);
    assert_eq!(have(&backfill.store(), "coinbase:BTC-USD"), want(&minutes[10..60]));
}

#[test]
fn candles_without_proof_are_replaced_as_the_next_revision_and_proven_ones_stay() {
    let minutes = market(40);
    let venue = VenueRest::open(Venue::Binance, minutes.clone());
    let backfill = Backfill::new(&[&venue]);
    let scale = |decimals| Scale::new(decimals).unwrap();
    let scales = Scales { price: scale(4), quantity: scale(6) };
    let streamed = |minute: &Minute, state| {
        let price = |text: &str| Price(parse_decimal(text.as_bytes(), scales.price).unwrap());
        let mut candle = Candle::flat(Interval::M1, Timestamp::from_millis(minute.ms), price(&minute.prices[0]));
        (candle.high, candle.low, candle.close) =
            (price(&minute.prices[1]), price(&minute.prices[2]), price(&minute.prices[3]));
        candle.volume = parse_amount(minute.volume.as_bytes(), 6).unwrap();
        (candle.trades, candle.first_id, candle.last_id) = (9, 100, 108);
        (candle.is_closed, candle.state) = (true, state);
        StoredCandle { scales, candle }
    };
    let mut wrong = streamed(&minutes[2], State::Partial);
    (wrong.candle.volume, wrong.candle.revision) = (1, 4);
    let mut proven = streamed(&minutes[4], State::Complete);
    proven.candle.volume = 1;
    let mut open = streamed(&minutes[5], State::Partial);
    open.candle.is_closed = false;
    let agreeing = streamed(&minutes[1], State::Partial);
    backfill.put("binance:BTCUSDT", &[agreeing, wrong, proven, open]);
    let ran = backfill.run("binance:BTCUSDT", minutes[1].ms, minutes[6].ms);
    assert_eq!(ran.counts("binance:BTCUSDT"), [4, 4, 0, 0, 0], "{}", ran.said);
    let candles = stored(&backfill.store(), "binance:BTCUSDT", Interval::M1);
    let facts = |index: usize| {
        let candle = candles[index].candle;
        (candle.state, candle.revision, candle.first_id, candle.is_closed)
    };
    // The venue agrees: the ids stay known.
    assert_eq!(facts(0), (State::Repaired, 1, 100, true));
    assert_eq!(facts(1), (State::Repaired, 5, 0, true));
    assert_eq!(stored_row(&candles[1]), minutes[2].row());
    assert_eq!(facts(2).1, 0);
    assert_eq!(candles[3], proven);
    assert_eq!(facts(4), (State::Repaired, 0, 0, true));
}

#[test]
fn a_candle_that_cannot_be_held_or_breaks_the_laws_is_refused_by_name_and_the_others_go_on() {
    let mut minutes = market(40);
    minutes[5].prices[0] = "60000.123456789012".to_owned();
    minutes[6].prices[1] = "1".to_owned();
    let venue = VenueRest::open(Venue::Binance, minutes.clone());
    let backfill = Backfill::new(&[&venue]);
    let ran = backfill.run("binance:BTCUSDT", minutes[1].ms, minutes[30].ms);
    assert!(!ran.is_ok);
    assert_eq!(ran.counts("binance:BTCUSDT"), [29, 27, 2, 0, 2], "{}", ran.said);
    for reason in ["too_precise open: 1, first at", "high_below_a_price: 1, first at"] {
        assert!(ran.said.contains(reason), "{}", ran.said);
    }
}

#[test]
fn a_wrong_wish_says_what_to_do_instead() {
    let minutes = market(40);
    let venue = VenueRest::open(Venue::Okx, minutes.clone());
    let backfill = Backfill::new(&[&venue]);
    let said = |symbols: &str, more: &[&str]| {
        let output = backfill.command(symbols, minutes[0].ms, minutes[9].ms).args(more).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said("BTX", &[]).contains("did you mean BTC?"));
    assert!(said("mars:BTC", &[]).contains("use binance"));
    let interval = said("okx:BTC-USDT", &["--interval", "8h"]);
    assert!(interval.contains("okx has no 8h candles") && interval.contains("6h 12h 1d"), "{interval}");
    // The venue knows no such instrument: it is asked once, and not as if it were out of order.
    let hits = venue.hits();
    venue.spoil(&["404 Not Found"]);
    assert!(said("okx:MARS-USDT", &[]).contains("404"));
    assert_eq!(venue.hits(), hits + 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let held = runtime.block_on(Store::open(&StoreUrl::Redb(backfill.store()), Keep::default())).unwrap();
    let in_use = said("okx:BTC-USDT", &[]);
    assert!(in_use.contains("stop the server") && in_use.contains("is in use"), "{in_use}");
    let series = Series { source: Source::parse("okx:BTC-USDT").unwrap(), interval: Interval::M1 };
    assert!(runtime.block_on(held.newest_candles(&series, Timestamp(i64::MAX), 1)).unwrap().is_empty());
}

#[test]
fn a_running_server_mends_a_range_and_is_told_what_was_written() {
    let minutes = market(60);
    let venue = VenueRest::open(Venue::Okx, minutes.clone());
    let folder = tempdir();
    let instrument = feeds::symbols::instrument(Venue::Okx, "BTC-USDT");
    let now = Timestamp::from_millis(minutes[50].ms);
    let mut client = CandleClient::new(Venue::Okx, &venue.url, None, Arc::new(move || now), 1).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = StoreUrl::Redb(folder.join("history.redb"));
        let store = Store::open(&url, Keep::default()).await.unwrap();
        let mut ask = async |from: i64, to: i64| {
            let series = Mend {
                store: &store,
                client: &mut client,
                instrument: &instrument,
                interval: Interval::M1,
                is_doubtful: false,
            };
            mend(series, Timestamp::from_millis(from), Timestamp::from_millis(to)).await.unwrap()
        };
        let rows = |candles: &[StoredCandle]| candles.iter().map(stored_row).collect::<Vec<_>>();
        let want = |minutes: &[Minute]| minutes.iter().map(Minute::row).collect::<Vec<_>>();
        assert_eq!(rows(&ask(minutes[5].ms, minutes[9].ms).await), want(&minutes[5..9]));
        // What is there is not fetched again; what is not over or not settled is not fetched yet.
        assert_eq!(rows(&ask(minutes[7].ms, i64::MAX / 1_000_000).await), want(&minutes[9..49]));
        // Years are too much at once: the newest part is mended.
        assert_eq!(rows(&ask(0, minutes[59].ms).await), want(&minutes[..5]));
    });
}
