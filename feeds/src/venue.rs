//! The one interface of all venues: what to connect to and say, and how frames become trades.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use engine::{
    interval::Interval,
    market::{Directory, IdRule, Origin, Price, Quantity, Refusal, Side, Symbol, Timestamp, Trade, Venue},
    number::{NumberError, Scale, parse_amount, parse_decimal},
};

pub use engine::message::VenueCandle;
pub use error::FeedError;

mod binance;
mod bybit;
mod coinbase;
mod error;
mod hyperliquid;
mod kraken;
mod okx;
pub mod scan;

/// The longest frame that is read.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// How many trades one frame may hold: Bybit sends up to 1024, Hyperliquid's backlog may be larger.
pub const FRAME_TRADES_MAX: usize = 4096;
/// How far behind our clock a live trade's time may lie ahead before it is absurd.
const AHEAD_MAX: i64 = 3_600_000_000_000;

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A trade.
    Trade(Trade),
    /// The venue's newest trade has this id.
    Proof {
        /// Of which instrument.
        symbol: Symbol,
        /// The id.
        last_id: u64,
    },
    /// A subscription was accepted.
    Subscribed,
    /// A subscription was refused.
    SubscribeError(String),
    /// An answer to our keep-alive.
    Pong,
    /// A sign of life that says nothing of trades.
    Heartbeat,
    /// The venue will cut the connection.
    PlannedShutdown,
    /// One trade of the frame is not taken.
    Refused {
        /// Why.
        reason: Refusal,
        /// Which field.
        field: &'static str,
    },
    /// A frame of a kind that says nothing of trades.
    Ignored,
}

/// An instrument as a parser sees it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its symbol.
    pub symbol: Symbol,
    /// Decimals of its prices.
    pub price_scale: Scale,
    /// Decimals of its quantities.
    pub quantity_scale: Scale,
}

/// FNV-1a: names are short and come from our own configuration, so nobody can choose them to collide.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The instruments of one venue by the names in its frames.
#[derive(Clone, Debug, Default)]
pub struct Names {
    known: HashMap<Box<[u8]>, Known, BuildHasherDefault<Fnv>>,
}

impl Names {
    /// All instruments of a venue.
    pub fn new(directory: &Directory, venue: Venue) -> Self {
        let of_venue = directory.symbols().filter(|(_, instrument)| instrument.venue == venue);
        let known = of_venue.map(|(symbol, instrument)| {
            let known =
                Known { symbol, price_scale: instrument.price_scale, quantity_scale: instrument.quantity_scale };
            (Box::from(instrument.name.as_bytes()), known)
        });
        Self { known: known.collect() }
    }

    /// The instrument of that name.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<&Known> {
        self.known.get(name)
    }
}

/// A trade as a venue spells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawTrade<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) first_id: u64,
    pub(crate) id: u64,
    pub(crate) ts_event: i64,
    pub(crate) price: &'a [u8],
    pub(crate) quantity: &'a [u8],
    pub(crate) side: Side,
    pub(crate) backlog: bool,
}

/// Where a venue's parser puts what it reads.
pub(crate) struct Sink<'a> {
    pub(crate) names: &'a Names,
    /// Instruments that sent a first frame on this connection.
    pub(crate) begun: &'a mut std::collections::HashSet<Symbol>,
    ts_recv: Timestamp,
    live: bool,
    trades: usize,
    out: &'a mut Vec<Event>,
}

impl Sink<'_> {
    pub(crate) fn event(&mut self, event: Event) {
        self.out.push(event);
    }

    pub(crate) fn refuse(&mut self, reason: Refusal, field: &'static str) {
        self.out.push(Event::Refused { reason, field });
    }

    /// Whether this is the first that the connection hears of that instrument.
    pub(crate) fn is_first(&mut self, name: &[u8]) -> bool {
        self.names.get(name).is_some_and(|known| self.begun.insert(known.symbol))
    }

    #[inline]
    pub(crate) fn trade(&mut self, raw: &RawTrade<'_>) {
        self.trades += 1;
        if self.trades > FRAME_TRADES_MAX {
            return self.refuse(Refusal::Absurd, "trades per frame");
        }
        match self.read(raw) {
            Ok(trade) => self.out.push(Event::Trade(trade)),
            Err((reason, field)) => self.refuse(reason, field),
        }
    }

    #[inline]
    fn read(&self, raw: &RawTrade<'_>) -> Result<Trade, (Refusal, &'static str)> {
        let known = self.names.get(raw.name).ok_or((Refusal::UnknownSymbol, "symbol"))?;
        let price = parse_decimal(raw.price, known.price_scale).map_err(|error| (error.into(), "price"))?;
        let quantity = parse_decimal(raw.quantity, known.quantity_scale).map_err(|error| (error.into(), "quantity"))?;
        let trades = raw.id.checked_sub(raw.first_id).and_then(|more| u32::try_from(more + 1).ok());
        let trade = Trade {
            symbol: known.symbol,
            first_id: raw.first_id,
            id: raw.id,
            trades: trades.ok_or((Refusal::Absurd, "id"))?,
            ts_event: Timestamp(raw.ts_event),
            ts_recv: self.ts_recv,
            price: Price(price),
            quantity: Quantity(quantity),
            side: raw.side,
            origin: if raw.backlog { Origin::Backlog } else { Origin::Live },
        };
        trade.check(false).map_err(|reason| (reason, "trade"))?;
        if self.live && raw.ts_event > self.ts_recv.0.saturating_add(AHEAD_MAX) {
            return Err((Refusal::Absurd, "time"));
        }
        Ok(trade)
    }
}

/// Reads the frames of one connection, in order.
#[derive(Debug)]
pub struct Parser {
    venue: Venue,
    names: Arc<Names>,
    begun: std::collections::HashSet<Symbol>,
    live: bool,
}

impl Parser {
    /// For a new connection. `live` also refuses times far ahead of `ts_recv`, which recordings may have.
    pub fn new(venue: Venue, names: Arc<Names>, live: bool) -> Self {
        Self { venue, names, begun: std::collections::HashSet::new(), live }
    }

    /// Appends what a frame holds; trades stand in the order of their ids where the venue has such an order.
    ///
    /// # Errors
    /// [`FeedError`] if the frame is too long or not of a shape that the venue sends; `out` may hold a part of it.
    pub fn on_frame(&mut self, frame: &[u8], ts_recv: Timestamp, out: &mut Vec<Event>) -> Result<(), FeedError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(FeedError::TooLong { venue: self.venue, bytes: frame.len() });
        }
        let start = out.len();
        let (names, begun) = (&*self.names, &mut self.begun);
        let mut sink = Sink { names, begun, ts_recv, live: self.live, trades: 0, out };
        let read = match self.venue {
            Venue::Binance => binance::on_frame(frame, &mut sink),
            Venue::Coinbase => coinbase::on_frame(frame, &mut sink),
            Venue::Kraken => kraken::on_frame(frame, &mut sink),
            Venue::Bybit => bybit::on_frame(frame, &mut sink),
            Venue::Okx => okx::on_frame(frame, &mut sink),
            Venue::Hyperliquid => hyperliquid::on_frame(frame, &mut sink),
            Venue::File | Venue::Sim => Err("venue"),
        };
        if sink.trades > 1 && self.venue.id_rule() == IdRule::Contiguous {
            let id = |event: &Event| if let Event::Trade(trade) = event { trade.id } else { 0 };
            out.get_mut(start..).unwrap_or_default().sort_by_key(id);
        }
        read.map_err(|field| FeedError::Frame { venue: self.venue, field })
    }
}

/// How a connection is kept alive.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// How often to speak.
    pub every: Duration,
    /// What to say.
    pub text: &'static str,
}

/// What a venue allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many symbols one connection carries.
    pub symbols_per_connection: usize,
    /// The pause between two client messages.
    pub message_pause: Duration,
    /// When to replace a connection before the venue cuts it.
    pub lifetime: Option<Duration>,
    /// The pause between two REST requests.
    pub rest_pause: Duration,
}

/// What a venue allows for candles of the past, and what its pages hold.
#[derive(Clone, Copy, Debug)]
pub struct CandleLimits {
    /// The most rows of one page.
    pub rows: u32,
    /// The pause between two pages.
    pub pause: Duration,
    /// How many of the newest intervals can be had; `None` where all can.
    pub newest: Option<u32>,
    /// Whether intervals without trades have no row. Elsewhere a row that is missing says that nothing is known.
    pub omits_quiet: bool,
}

/// A candle of a page that is not taken: it is never rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedCandle {
    /// Its first moment.
    pub open_time: Timestamp,
    /// Why.
    pub reason: Refusal,
    /// Which field.
    pub field: &'static str,
}

/// A row of a page of candles.
pub type CandleRow = Result<VenueCandle, RefusedCandle>;

/// A request to a venue's REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRequest {
    /// The whole URL.
    pub url: String,
    /// A JSON body to post; without one the request is a GET.
    pub body: Option<String>,
}

impl RestRequest {
    pub(crate) const fn get(url: String) -> Self {
        Self { url, body: None }
    }
}

/// Which trades are wanted from REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradeRange {
    /// First id.
    pub first_id: u64,
    /// Last id.
    pub last_id: u64,
    /// A time before the first one.
    pub from: Timestamp,
    /// A time behind the last one.
    pub to: Timestamp,
}

/// One venue: its addresses, words and REST pages. Each file of a venue has one `FEED`.
pub trait VenueFeed: Send + Sync {
    /// The default WebSocket base URL.
    fn ws_base(&self) -> &'static str;
    /// The default REST base URL.
    fn rest_base(&self) -> &'static str;
    /// The URL to connect to for these instruments.
    fn ws_url(&self, base: &str, _names: &[&str]) -> String {
        base.to_owned()
    }
    /// The messages that subscribe to these instruments' trades; empty where the URL does.
    fn subscribe(&self, names: &[&str]) -> Vec<String>;
    /// What keeps the connection alive, beyond WebSocket pings.
    fn keep_alive(&self) -> Option<KeepAlive>;
    /// What the venue allows.
    fn limits(&self) -> Limits;
    /// The next page of the trades in `range`, starting at `range.first_id`; `None` where trades cannot be had.
    fn trades_request(&self, base: &str, name: &str, range: TradeRange) -> Option<RestRequest>;
    /// Reads a page of trades, with origin repair.
    ///
    /// # Errors
    /// [`FeedError`] if the answer is an error or of another shape.
    fn parse_trades(&self, body: &mut [u8], name: &str, known: &Known) -> Result<Vec<Trade>, FeedError>;
    /// The candles of `[from, to)`; `None` for an interval that the venue has not.
    fn candles_request(
        &self,
        base: &str,
        name: &str,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<RestRequest>;
    /// What is allowed for candles.
    fn candle_limits(&self) -> CandleLimits;
    /// Reads a page of candles, oldest first; the last one may still be open.
    ///
    /// # Errors
    /// [`FeedError`] if the answer is an error or of another shape.
    fn parse_candles(&self, body: &mut [u8], known: &Known) -> Result<Vec<CandleRow>, FeedError>;
}

/// The feed of a venue; `None` for those without a live one.
pub fn feed(venue: Venue) -> Option<&'static dyn VenueFeed> {
    match venue {
        Venue::Binance => Some(&binance::FEED),
        Venue::Coinbase => Some(&coinbase::FEED),
        Venue::Kraken => Some(&kraken::FEED),
        Venue::Bybit => Some(&bybit::FEED),
        Venue::Okx => Some(&okx::FEED),
        Venue::Hyperliquid => Some(&hyperliquid::FEED),
        Venue::File | Venue::Sim => None,
    }
}

/// A trade of a REST page.
pub(crate) fn repair_trade(raw: &RawTrade<'_>, known: &Known) -> Option<Trade> {
    let trade = Trade {
        symbol: known.symbol,
        first_id: raw.first_id,
        id: raw.id,
        trades: u32::try_from(raw.id.checked_sub(raw.first_id)? + 1).ok()?,
        ts_event: Timestamp(raw.ts_event),
        ts_recv: Timestamp(raw.ts_event),
        price: Price(parse_decimal(raw.price, known.price_scale).ok()?),
        quantity: Quantity(parse_decimal(raw.quantity, known.quantity_scale).ok()?),
        side: raw.side,
        origin: Origin::Repair,
    };
    trade.check(false).ok().map(|()| trade)
}

/// A candle as a venue spells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawCandle<'a> {
    pub(crate) open_time: i64,
    /// Open, high, low, close.
    pub(crate) prices: [&'a str; 4],
    pub(crate) volume: &'a str,
    pub(crate) quote_volume: Option<&'a str>,
    pub(crate) buy_volume: Option<&'a str>,
    pub(crate) trades: Option<u64>,
}

impl<'a> RawCandle<'a> {
    /// One of which no more is told.
    pub(crate) const fn new(open_time: i64, prices: [&'a str; 4], volume: &'a str) -> Self {
        Self { open_time, prices, volume, quote_volume: None, buy_volume: None, trades: None }
    }

    pub(crate) fn read(&self, known: &Known) -> Result<VenueCandle, RefusedCandle> {
        let refused = |field| {
            move |error: NumberError| RefusedCandle {
                open_time: Timestamp(self.open_time),
                reason: error.into(),
                field,
            }
        };
        let price =
            |text: &str, field| parse_decimal(text.as_bytes(), known.price_scale).map(Price).map_err(refused(field));
        let decimals = known.quantity_scale.decimals();
        let amount = |text: &str, field| parse_amount(text.as_bytes(), decimals).map_err(refused(field));
        // A sum of products that the scales cannot hold was rounded by the venue: it counts as not told.
        let wide = decimals + known.price_scale.decimals();
        let quote = self.quote_volume.map(|text| parse_amount(text.as_bytes(), wide));
        let [open, high, low, close] = self.prices;
        Ok(VenueCandle {
            open_time: Timestamp(self.open_time),
            open: price(open, "open")?,
            high: price(high, "high")?,
            low: price(low, "low")?,
            close: price(close, "close")?,
            volume: amount(self.volume, "volume")?,
            quote_volume: match quote {
                Some(Err(NumberError::Malformed)) => return Err(refused("quote volume")(NumberError::Malformed)),
                quote => quote.and_then(Result::ok),
            },
            buy_volume: self.buy_volume.map(|text| amount(text, "buy volume")).transpose()?,
            trades: self.trades,
        })
    }
}

/// Reads a page with `simd-json`.
pub(crate) fn page<'a, T: serde::Deserialize<'a>>(venue: Venue, body: &'a mut [u8]) -> Result<T, FeedError> {
    simd_json::from_slice(body).map_err(|_| FeedError::Frame { venue, field: "page" })
}

/// Puts rows in order of time.
pub(crate) fn oldest_first(rows: &mut [CandleRow]) {
    rows.sort_by_key(|row| row.as_ref().map_or_else(|refused| refused.open_time, |candle| candle.open_time));
}

/// The words of a venue's error, cut to a bounded length.
pub(crate) fn message(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(200).collect()
}
