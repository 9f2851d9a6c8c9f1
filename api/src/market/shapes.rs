//! What `json` writes, for the document.
#![expect(dead_code, reason = "rows are written without these types, from the engine's own")]

use utoipa::{IntoParams, ToSchema};

use crate::openapi::Decimal;

/// Candles, oldest first.
#[derive(ToSchema)]
pub(super) struct CandlePage {
    /// As it was asked for.
    #[schema(example = "BTC")]
    symbol: String,
    /// The instrument that it stands for.
    #[schema(example = "binance:BTCUSDT")]
    source: String,
    #[schema(example = "1m")]
    interval: String,
    candles: Vec<Candle>,
    /// What to give as `cursor` for the next page; `null` on the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A candle is `[ts, close_ts)` by the venue's time. Numbers are exact.
#[derive(ToSchema)]
pub(super) struct Candle {
    symbol: String,
    interval: String,
    /// The open time in milliseconds.
    ts: i64,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: Decimal,
    is_closed: bool,
    /// In milliseconds.
    close_ts: i64,
    /// `null` where the venue does not say.
    #[schema(required)]
    trades: Option<u64>,
    #[schema(required)]
    vwap: Option<Decimal>,
    #[schema(required)]
    quote_volume: Option<Decimal>,
    #[schema(required)]
    buy_volume: Option<Decimal>,
    /// How often it was mended since it closed.
    revision: u32,
    state: CandleState,
    source: String,
    #[schema(required)]
    first_id: Option<u64>,
    #[schema(required)]
    last_id: Option<u64>,
}

/// How much of a candle is proven.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum CandleState {
    /// The venue's ids or its own candle prove that no trade is missing.
    Complete,
    /// Trades may be missing.
    Partial,
    /// Trades that were missing have been added.
    Repaired,
    /// Nothing was traded.
    Flat,
}

/// Trades, oldest first.
#[derive(ToSchema)]
pub(super) struct TradePage {
    symbol: String,
    source: String,
    trades: Vec<Trade>,
    /// What to give as `cursor` for the next page; `null` on the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A trade.
#[derive(ToSchema)]
struct Trade {
    id: u64,
    /// The venue's time in milliseconds.
    ts: i64,
    price: Decimal,
    quantity: Decimal,
    side: Side,
    /// How many fills the venue joined, where it is more than one.
    trades: Option<u32>,
}

/// The taker's side.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Side {
    Buy,
    Sell,
    Unknown,
}

/// Last prices and the 24 hours before.
#[derive(ToSchema)]
pub(super) struct Tickers {
    tickers: Vec<Ticker>,
}

/// The last price and 24 hours of whole minutes with the current one.
#[derive(ToSchema)]
struct Ticker {
    symbol: String,
    /// Time of the last trade in milliseconds.
    ts: i64,
    last: Decimal,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    volume: Decimal,
    quote_volume: Decimal,
    /// Last less open.
    change: Decimal,
    change_percent: Decimal,
    /// Since when these are counted, in milliseconds.
    since: i64,
    source: String,
}

/// What can be asked of candles.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CandleQuery {
    /// How long a candle is. Those that are not stored are rolled up exactly.
    #[param(
        default = "1m",
        example = "1h",
        pattern = "^(1s|5s|15s|30s|1m|3m|5m|15m|30m|1h|2h|4h|6h|8h|12h|1d|3d|1w|1M)$"
    )]
    interval: Option<String>,
    /// The first open time: milliseconds since 1970 or RFC 3339.
    start: Option<String>,
    /// The first open time that counts no more.
    end: Option<String>,
    /// Rows of a page.
    #[param(default = 500, minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// What is done about candles that are missing.
    #[param(inline)]
    fill: Option<Fill>,
    /// Whether the open candle is told, too.
    #[param(default = false)]
    open: Option<bool>,
    /// How rows are written; else `Accept` says it.
    #[param(inline)]
    format: Option<Format>,
    /// How numbers of JSON are written.
    #[param(inline)]
    numbers: Option<Numbers>,
}

/// What can be asked of trades.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TradeQuery {
    /// The first time: milliseconds since 1970 or RFC 3339. Without it, the newest are told.
    start: Option<String>,
    /// Rows of a page.
    #[param(default = 500, minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// How rows are written; else `Accept` says it.
    #[param(inline)]
    format: Option<Format>,
    /// How numbers of JSON are written.
    #[param(inline)]
    numbers: Option<Numbers>,
}

/// What can be asked of tickers.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TickerQuery {
    /// Names with commas between them; all without it.
    #[param(example = "BTC,ETH")]
    symbol: Option<String>,
    /// How numbers are written.
    #[param(inline)]
    numbers: Option<Numbers>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "none")]
enum Fill {
    None,
    Flat,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Format {
    Json,
    Csv,
    Arrow,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "number")]
enum Numbers {
    Number,
    String,
}
