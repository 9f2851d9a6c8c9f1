//! The configuration as its text has it: every name optional, every value checked while it is read.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use engine::market::Venue;
use node::Io;
use serde::{Deserialize, Deserializer, de::Error};
use store::StoreUrl;

use super::{
    KeyText,
    accounts::{self, AccountsFile, HttpFile, RecordsFile, StripeFile, TierFile, TierName},
    llm::{self, LlmFile},
    nearest::nearest,
};

/// A whole file, or the part of one that an environment variable stands for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: Option<Listen>,
    pub(super) workers: Option<Bounded<0, 64>>,
    pub(super) shards: Option<Bounded<0, 64>>,
    pub(super) pin: Option<bool>,
    pub(super) io: Option<IoName>,
    pub(super) emit_ms: Option<Bounded<0, 10_000>>,
    #[serde(default)]
    pub(super) limits: LimitsFile,
    #[serde(default)]
    pub(super) stream: StreamFile,
    #[serde(default)]
    pub(super) tls: TlsFile,
    #[serde(default)]
    pub(super) store: StoreFile,
    #[serde(default)]
    pub(super) record: RecordFile,
    #[serde(default)]
    pub(super) records: RecordsFile,
    #[serde(default)]
    pub(super) accounts: AccountsFile,
    #[serde(default)]
    pub(super) http: HttpFile,
    #[serde(default)]
    pub(super) stripe: StripeFile,
    #[serde(default)]
    pub(super) llm: LlmFile,
    #[serde(default)]
    pub(super) tiers: BTreeMap<TierName, TierFile>,
    #[serde(default)]
    pub(super) venues: BTreeMap<VenueName, VenueFile>,
    pub(super) symbols: Option<BTreeMap<Alias, Source>>,
    #[serde(default)]
    pub(super) keys: Vec<KeyFile>,
}

/// `[limits]`. The bounds keep memory finite and the late window inside what a ring remembers.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    pub(super) connections_per_key: Option<Bounded<1, 100_000>>,
    pub(super) channels_per_connection: Option<Bounded<1, 10_000>>,
    pub(super) late_window_ms: Option<Bounded<0, 400_000>>,
    pub(super) close_delay_ms: Option<Bounded<0, 60_000>>,
    pub(super) outbox_bytes: Option<Bounded<65_536, 268_435_456>>,
    pub(super) send_buffer_bytes: Option<Bounded<4_096, 16_777_216>>,
    pub(super) write_deadline_ms: Option<Bounded<1_000, 600_000>>,
    pub(super) connections: Option<Bounded<1, 1_000_000>>,
}

/// `[stream]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamFile {
    pub(super) deflate: Option<bool>,
}

/// `[tls]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFile {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// `[store]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreFile {
    pub(super) url: Option<StoreChoice>,
    pub(super) folder: Option<PathBuf>,
    pub(super) seconds_days: Option<Bounded<0, 36_500>>,
}

/// A store URL, or `none`.
#[derive(Clone)]
pub(super) struct StoreChoice(pub(super) Option<StoreUrl>);

impl<'de> Deserialize<'de> for StoreChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match String::deserialize(from)?.as_str() {
            "none" => Ok(Self(None)),
            text => StoreUrl::parse(text)
                .map(|url| Self(Some(url)))
                .map_err(|error| D::Error::custom(format!("{error}; \"none\" keeps nothing"))),
        }
    }
}

/// `[record]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordFile {
    pub(super) dir: Option<PathBuf>,
    pub(super) bytes_max: Option<Bounded<1_048_576, 1_000_000_000_000_000>>,
}

/// `[venues.NAME]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VenueFile {
    pub(super) enabled: Option<bool>,
    pub(super) ws_url: Option<Url<true>>,
    pub(super) rest_url: Option<Url<false>>,
}

/// One of `[[keys]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    pub(super) key: KeyText,
    pub(super) connections: Option<Bounded<1, 100_000>>,
    pub(super) tier: Option<TierName>,
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy)]
pub(super) struct Bounded<const MIN: i64, const MAX: i64>(pub(super) i64);

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match i64::deserialize(from) {
            Ok(value) if (MIN..=MAX).contains(&value) => Ok(Self(value)),
            Ok(value) => {
                Err(D::Error::custom(format!("{value} is out of bounds; use a whole number from {MIN} to {MAX}")))
            }
            Err(error) => Err(D::Error::custom(format!("{error}; use a whole number from {MIN} to {MAX}"))),
        }
    }
}

impl<const MIN: i64, const MAX: i64> Bounded<MIN, MAX> {
    /// The number as a size: it was checked to be from `MIN` to `MAX`.
    pub(super) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or_default()
    }
}

/// How workers send.
#[derive(Clone, Copy)]
pub(super) struct IoName(pub(super) Io);

impl<'de> Deserialize<'de> for IoName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match String::deserialize(from)?.as_str() {
            "auto" => Ok(Self(Io::Auto)),
            "epoll" => Ok(Self(Io::Epoll)),
            "uring" => Ok(Self(Io::Uring)),
            name => Err(D::Error::custom(format!("unknown `{name}`; use auto, epoll or uring"))),
        }
    }
}

/// An address to listen on.
#[derive(Clone, Copy)]
pub(super) struct Listen(pub(super) SocketAddr);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let remedy = "use \"ADDRESS:PORT\", such as \"127.0.0.1:8080\", or \"0.0.0.0:8080\" for every interface";
        text.parse().map(Self).map_err(|_| D::Error::custom(format!("{text:?} is not an address; {remedy}")))
    }
}

/// A base URL: of WebSockets if `WS`, else of HTTP.
#[derive(Clone)]
pub(super) struct Url<const WS: bool>(pub(super) String);

/// The longest URL that is taken.
const URL_BYTES_MAX: usize = 512;

impl<'de, const WS: bool> Deserialize<'de> for Url<WS> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let (plain, secure) = if WS { ("ws://", "wss://") } else { ("http://", "https://") };
        let host = text.strip_prefix(plain).or_else(|| text.strip_prefix(secure)).unwrap_or_default();
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || host.starts_with('/') || !printable || text.len() > URL_BYTES_MAX {
            return Err(D::Error::custom(format!(
                "{text:?} is not such a URL; start it with {secure} or {plain} and a host"
            )));
        }
        Ok(Self(text))
    }
}

/// A live venue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VenueName(pub(super) Venue);

impl<'de> Deserialize<'de> for VenueName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        live_venue(&name).map(Self).map_err(D::Error::custom)
    }
}

fn live_venue(name: &str) -> Result<Venue, String> {
    let known = || Venue::LIVE.map(Venue::name);
    Venue::LIVE.into_iter().find(|venue| venue.name() == name).ok_or_else(|| {
        let hint = nearest(name, known()).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        format!("unknown venue `{name}`; {hint}known: {}", known().join(", "))
    })
}

/// A name that clients use for an instrument.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alias(pub(super) String);

impl<'de> Deserialize<'de> for Alias {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
        if name.is_empty() || name.len() > 40 || !name.bytes().all(allowed) {
            let remedy = "use 1 to 40 letters, digits or any of - / _ @";
            return Err(D::Error::custom(format!("{name:?} is no name for a symbol; {remedy}")));
        }
        Ok(Self(name))
    }
}

/// `venue:NAME`, such as `binance:BTCUSDT`.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) venue: Venue,
    pub(super) name: String,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let example = "use \"VENUE:NAME\", such as \"binance:BTCUSDT\"";
        let (venue, name) =
            text.split_once(':').ok_or_else(|| D::Error::custom(format!("{text:?} names no venue; {example}")))?;
        let venue = live_venue(venue).map_err(|problem| D::Error::custom(format!("{problem}; {example}")))?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_:@".contains(&byte);
        if name.is_empty() || text.len() > 40 || !name.bytes().all(allowed) {
            return Err(D::Error::custom(format!("{text:?} names no instrument; {example}")));
        }
        Ok(Self { venue, name: name.to_owned() })
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let refused = || D::Error::custom("not a key");
        let text = String::deserialize(from).map_err(|_| refused())?;
        Self::new(text).ok_or_else(refused)
    }
}

impl File {
    /// Puts the settings of `over` in place of these. Keys cannot be overridden: an environment is easily printed.
    pub(super) fn apply(&mut self, mut over: Self) {
        accounts::apply(self, &mut over);
        llm::apply(&mut self.llm, over.llm);
        self.listen = over.listen.or(self.listen);
        self.workers = over.workers.or(self.workers);
        self.shards = over.shards.or(self.shards);
        self.pin = over.pin.or(self.pin);
        self.io = over.io.or(self.io);
        self.emit_ms = over.emit_ms.or(self.emit_ms);
        let (limits, new) = (&mut self.limits, over.limits);
        limits.connections_per_key = new.connections_per_key.or(limits.connections_per_key);
        limits.channels_per_connection = new.channels_per_connection.or(limits.channels_per_connection);
        limits.late_window_ms = new.late_window_ms.or(limits.late_window_ms);
        limits.close_delay_ms = new.close_delay_ms.or(limits.close_delay_ms);
        limits.outbox_bytes = new.outbox_bytes.or(limits.outbox_bytes);
        limits.send_buffer_bytes = new.send_buffer_bytes.or(limits.send_buffer_bytes);
        limits.write_deadline_ms = new.write_deadline_ms.or(limits.write_deadline_ms);
        limits.connections = new.connections.or(limits.connections);
        self.stream.deflate = over.stream.deflate.or(self.stream.deflate);
        self.tls.cert = over.tls.cert.or(self.tls.cert.take());
        self.tls.key = over.tls.key.or(self.tls.key.take());
        self.store.url = over.store.url.or(self.store.url.take());
        self.store.folder = over.store.folder.or(self.store.folder.take());
        self.store.seconds_days = over.store.seconds_days.or(self.store.seconds_days);
        self.record.dir = over.record.dir.or(self.record.dir.take());
        self.record.bytes_max = over.record.bytes_max.or(self.record.bytes_max);
        for (name, new) in over.venues {
            let venue = self.venues.entry(name).or_default();
            venue.enabled = new.enabled.or(venue.enabled);
            venue.ws_url = new.ws_url.or(venue.ws_url.take());
            venue.rest_url = new.rest_url.or(venue.rest_url.take());
        }
    }
}
