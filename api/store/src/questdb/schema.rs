//! The tables. Candles stand in three, by how long they are, since a partition should hold neither a handful nor a billion.

use engine::interval::Interval;

const CANDLE_COLUMNS: &str = "ts TIMESTAMP_NS, instrument SYMBOL CAPACITY 1024 INDEX, \"interval\" SYMBOL CAPACITY 32, \
    state SYMBOL CAPACITY 8, revision LONG, is_closed BOOLEAN, price_scale BYTE, quantity_scale BYTE, \
    open DECIMAL(38,18), high DECIMAL(38,18), low DECIMAL(38,18), close DECIMAL(38,18), volume DECIMAL(58,18), \
    quote_volume DECIMAL(76,36), buy_volume DECIMAL(58,18), trades DECIMAL(20,0), first_id DECIMAL(20,0), \
    last_id DECIMAL(20,0), unknown_sides BOOLEAN, unknown_trades BOOLEAN, unknown_quote BOOLEAN";
const TRADE_COLUMNS: &str = "ts TIMESTAMP_NS, instrument SYMBOL CAPACITY 1024 INDEX, side SYMBOL CAPACITY 8, \
    origin SYMBOL CAPACITY 8, id DECIMAL(20,0), first_id DECIMAL(20,0), trades LONG, ts_recv LONG, price_scale BYTE, \
    quantity_scale BYTE, price DECIMAL(38,18), quantity DECIMAL(38,18)";
const VALUE_COLUMNS: &str = "ts TIMESTAMP_NS, name SYMBOL CAPACITY 1024, value VARCHAR";

/// The three lengths of candles, in the order of writing.
pub(super) const CANDLE_TABLES: [&str; 3] = ["candles_s", "candles_m", "candles_h"];
pub(super) const TRADES: &str = "trades";
pub(super) const VALUES: &str = "values";

/// Which table holds the candles of an interval: up to 30 s, up to 30 min, from an hour on.
pub(super) fn candle_table(interval: Interval) -> &'static str {
    let [seconds, minutes, hours] = CANDLE_TABLES;
    match interval {
        _ if interval < Interval::M1 => seconds,
        _ if interval < Interval::H1 => minutes,
        _ => hours,
    }
}

pub(super) fn names(prefix: &str) -> [String; 5] {
    let [seconds, minutes, hours] = CANDLE_TABLES;
    [seconds, minutes, hours, TRADES, VALUES].map(|name| format!("{prefix}{name}"))
}

/// Each table with its statement. Trades are dropped by whole hours, `hours` after the newest one.
pub(super) fn tables(prefix: &str, hours: u64) -> [(String, String); 5] {
    let candle_key = "ts, instrument, \"interval\", revision, is_closed";
    let ttl = format!("HOUR TTL {hours} HOURS");
    let parts = [
        (CANDLE_COLUMNS, "DAY", candle_key),
        (CANDLE_COLUMNS, "MONTH", candle_key),
        (CANDLE_COLUMNS, "YEAR", candle_key),
        (TRADE_COLUMNS, ttl.as_str(), "ts, instrument, id"),
        (VALUE_COLUMNS, "YEAR", "ts, name"),
    ];
    let mut parts = parts.into_iter();
    names(prefix).map(|name| {
        let (columns, partition, key) = parts.next().unwrap_or_default();
        let ddl = format!(
            "CREATE TABLE IF NOT EXISTS \"{name}\" ({columns}) TIMESTAMP(ts) PARTITION BY {partition} WAL \
             DEDUP UPSERT KEYS({key})"
        );
        (name, ddl)
    })
}

/// Sets ages anew, of trades in hours and of the shortest candles in days: a table that exists keeps the one that it has. Zero keeps
/// all.
pub(super) fn keep(prefix: &str, hours: u64, days: u64) -> [String; 2] {
    let [seconds, ..] = CANDLE_TABLES;
    [
        format!("ALTER TABLE \"{prefix}{TRADES}\" SET TTL {hours} HOURS"),
        format!("ALTER TABLE \"{prefix}{seconds}\" SET TTL {days} DAYS"),
    ]
}

/// What an existing table has else than its statement says: (name, type, designated, key) of each column.
pub(super) fn difference(ddl: &str, columns: &[(String, String, bool, bool)]) -> Option<String> {
    let (_, rest) = ddl.split_once('(')?;
    let (listed, rest) = rest.split_once(") TIMESTAMP(")?;
    let (_, keys) = rest.split_once("KEYS(")?;
    let keys: Vec<_> = keys.trim_end_matches(')').split(", ").map(|name| name.trim_matches('"')).collect();
    // A type such as DECIMAL(38,18) has a comma without a space, a column ends with both.
    for column in listed.split(", ") {
        let mut words = column.split_whitespace();
        let (name, kind) = (words.next()?.trim_matches('"'), words.next()?);
        let Some((_, found, designated, is_key)) = columns.iter().find(|column| column.0 == name) else {
            return Some(format!("column {name} is missing"));
        };
        if found != kind {
            return Some(format!("column {name} is {found}, not {kind}"));
        }
        if *is_key != keys.contains(&name) {
            return Some("it does not drop duplicates by the key that is expected".to_owned());
        }
        if *designated != (name == "ts") {
            return Some("its designated timestamp is another".to_owned());
        }
    }
    None
}
