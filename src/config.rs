//! Settings: defaults, then a TOML file, then the environment. Every value is checked before anything starts.
//!
//! `file` says which names and values there are, `accounts` those about accounts and money, `llm` those about models, `env` reads `KANDLE_…`, `error` says
//! what is wrong and how to mend it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use engine::market::{Directory, Venue};
use node::Io;
use store::StoreUrl;

use api::tiers::ENTERPRISE;
use records::RecordsUrl;

pub use accounts::{AccountsConfig, HttpConfig, SecretText, StripeConfig};
pub use error::ConfigError;
use file::File;
pub use llm::{KeyAt, LlmConfig, ProviderConfig};
pub(crate) use nearest::nearest;

mod accounts;
mod env;
mod error;
mod file;
mod llm;
mod nearest;
#[cfg(test)]
mod tests;

/// Where history is kept if nothing else is said: below the folder that the program is started in.
const DATA_FOLDER: &str = "kandle-data";
const HISTORY_FILE: &str = "history.redb";
const RECORDS_FILE: &str = "records.db";
const SECRET_FILE: &str = "secret";
/// A larger file is no configuration.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Everything that can be set.
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Threads that serve sockets; 0 for one per processor that no shard has.
    pub workers: usize,
    /// Threads that fold trades; 0 for one per four processors.
    pub shards: usize,
    /// Whether each of these threads stays on a processor of its own, where there are enough.
    pub pin: bool,
    /// How workers send.
    pub io: Io,
    /// At whole multiples of which time trades and states go out; 0 for at once.
    pub emit_ms: i64,
    /// Bounds.
    pub limits: Limits,
    /// Whether messages are compressed for clients that offer it.
    pub deflate: bool,
    /// Where candles and trades are kept; `None` if nowhere.
    pub store: Option<StoreConfig>,
    /// Certificate and key, if clients connect by TLS.
    pub tls: Option<TlsFiles>,
    /// Where everything that venues send is recorded, if it is.
    pub record: Option<RecordFolder>,
    /// The six venues, in the order of [`Venue::LIVE`].
    pub venues: Vec<VenueConfig>,
    /// What is served, by alias.
    pub symbols: Vec<SymbolConfig>,
    /// Who may connect.
    pub keys: Vec<KeyConfig>,
    /// Accounts and money.
    pub accounts: AccountsConfig,
    /// How HTTP is served.
    pub http: HttpConfig,
    /// Cards, if they are taken.
    pub stripe: Option<StripeConfig>,
    /// Language models.
    pub llm: LlmConfig,
}

/// Bounds of a running system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once on one key.
    pub connections_per_key: u32,
    /// Channels of one connection.
    pub channels_per_connection: usize,
    /// How long after its end a candle may still be corrected.
    pub late_window_ms: i64,
    /// How long after its end a candle closes at the latest.
    pub close_delay_ms: i64,
    /// What may wait for a slow client.
    pub outbox_bytes: usize,
    /// The kernel's send buffer of a client.
    pub send_buffer_bytes: usize,
    /// How long a client may take nothing while something waits for it.
    pub write_deadline_ms: i64,
    /// Open connections, HTTP and WebSocket together.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_key: 10,
            channels_per_connection: 50,
            late_window_ms: 300_000,
            close_delay_ms: 1000,
            outbox_bytes: 1 << 20,
            send_buffer_bytes: 128 * 1024,
            write_deadline_ms: 10_000,
            connections: 65_536,
        }
    }
}

/// Where candles and trades are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The store.
    pub url: StoreUrl,
    /// The folder of what waits for the store, and of what must outlive a kill.
    pub folder: PathBuf,
    /// For how many days candles shorter than a minute are kept; 0 for ever.
    pub seconds_days: u64,
}

impl StoreConfig {
    /// The store of `url`, with its folder beside the file of an embedded one.
    pub fn new(url: StoreUrl, folder: Option<PathBuf>) -> Self {
        let beside = match &url {
            StoreUrl::Redb(path) => path.parent().map(Path::to_owned).filter(|folder| *folder != Path::new("")),
            StoreUrl::QuestDb(_) => None,
        };
        let folder = folder.or(beside).unwrap_or_else(|| PathBuf::from(DATA_FOLDER));
        Self { url, folder, seconds_days: 0 }
    }
}

/// Where a certificate and its key lie, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The most bytes of a recording where none are given.
pub const RECORD_BYTES_MAX: u64 = 50_000_000_000;

/// A folder of recorded frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFolder {
    /// Where it is.
    pub dir: PathBuf,
    /// The most bytes of all its files; the oldest go first.
    pub bytes_max: u64,
}

/// One venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VenueConfig {
    /// Which one.
    pub venue: Venue,
    /// Whether to connect to it.
    pub enabled: bool,
    /// Base URL of its WebSockets.
    pub ws_url: String,
    /// Base URL of its REST API.
    pub rest_url: String,
}

/// An alias and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolConfig {
    /// The alias: `BTC`.
    pub alias: String,
    /// Its venue.
    pub venue: Venue,
    /// The venue's own name of the instrument: `BTCUSDT`.
    pub name: String,
}

/// An API key and what it allows.
pub struct KeyConfig {
    /// The key.
    pub key: KeyText,
    /// How many connections it may hold at once.
    pub connections: u32,
    /// Its tier.
    pub tier: String,
}

/// The text of an API key. It has no `Debug` and no `Display`, so that it reaches no log by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyText(String);

impl KeyText {
    /// A key of 8 to 128 letters, digits or any of `-`, `_`, `.`.
    pub fn new(text: String) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        ((8..=128).contains(&text.len()) && text.bytes().all(allowed)).then_some(Self(text))
    }

    /// The secret itself, for the one place that hashes it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from_file(File::default())
    }
}

impl Config {
    /// Reads `path`, if given, and the `KANDLE_…` variables of `environment`, which win.
    ///
    /// # Errors
    /// [`ConfigError`] names file and line or the variable, what is wrong there and how to mend it.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut file = match path {
            Some(path) => Self::read(path)?,
            None => File::default(),
        };
        let symbols = env::apply(&mut file, environment)?;
        if file.tls.cert.is_some() != file.tls.key.is_some() {
            return Err(ConfigError::HalfTls);
        }
        let mut config = Self::from_file(file);
        for symbol in symbols {
            config.symbols.retain(|known| known.alias != symbol.alias);
            config.symbols.push(symbol);
        }
        config.check_tiers()?;
        Ok(config)
    }

    fn read(path: &Path) -> Result<File, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let mut input = fs::File::open(path).map_err(read)?.take(FILE_BYTES_MAX);
        input.read_to_string(&mut text).map_err(read)?;
        Self::parse(&text).map_err(|(line, problem)| ConfigError::Line { path: path.to_owned(), line, problem })
    }

    fn parse(text: &str) -> Result<File, (usize, String)> {
        let file: File = toml::from_str(text).map_err(|error| error::explain(text, &error))?;
        let mut seen = std::collections::BTreeSet::new();
        for key in &file.keys {
            if !seen.insert(key.key.reveal()) {
                let line = text.lines().enumerate().filter(|(_, line)| line.contains(key.key.reveal())).last();
                let problem = "this key is given twice; leave one of the two [[keys]] out".to_owned();
                return Err((line.map_or(1, |(index, _)| index + 1), problem));
            }
        }
        Ok(file)
    }

    /// Where a tier is named that there is not.
    fn check_tiers(&self) -> Result<(), ConfigError> {
        let of_keys = self.keys.iter().map(|key| &key.tier);
        match of_keys.chain([&self.accounts.tier]).find(|tier| self.accounts.tiers.get(tier).is_none()) {
            Some(tier) => {
                let known = self.accounts.tiers.names().collect::<Vec<_>>().join(", ");
                Err(ConfigError::UnknownTier { tier: tier.clone(), known })
            }
            None => Ok(()),
        }
    }

    fn from_file(file: File) -> Self {
        let usual = Limits::default();
        let limits = &file.limits;
        let count = |value: i64, or: u32| u32::try_from(value).unwrap_or(or);
        let per_key = limits.connections_per_key.map_or(usual.connections_per_key, |n| count(n.0, 10));
        Self {
            listen: file.listen.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), |listen| listen.0),
            workers: file.workers.map_or(0, |workers| workers.size()),
            shards: file.shards.map_or(0, |shards| shards.size()),
            pin: file.pin.unwrap_or(true),
            io: file.io.map_or(Io::Auto, |io| io.0),
            emit_ms: file.emit_ms.map_or(0, |period| period.0),
            limits: Limits {
                connections_per_key: per_key,
                channels_per_connection: limits
                    .channels_per_connection
                    .map_or(usual.channels_per_connection, |n| n.size()),
                late_window_ms: limits.late_window_ms.map_or(usual.late_window_ms, |n| n.0),
                close_delay_ms: limits.close_delay_ms.map_or(usual.close_delay_ms, |n| n.0),
                outbox_bytes: limits.outbox_bytes.map_or(usual.outbox_bytes, |n| n.size()),
                send_buffer_bytes: limits.send_buffer_bytes.map_or(usual.send_buffer_bytes, |n| n.size()),
                write_deadline_ms: limits.write_deadline_ms.map_or(usual.write_deadline_ms, |n| n.0),
                connections: limits.connections.map_or(usual.connections, |n| n.size()),
            },
            store: store(&file),
            tls: file.tls.cert.clone().zip(file.tls.key.clone()).map(|(cert, key)| TlsFiles { cert, key }),
            record: file.record.dir.clone().map(|dir| RecordFolder {
                dir,
                bytes_max: file.record.bytes_max.map_or(RECORD_BYTES_MAX, |bytes| bytes.0.unsigned_abs()),
            }),
            deflate: file.stream.deflate.unwrap_or(true),
            venues: venues(&file),
            symbols: symbols(&file),
            accounts: accounts::accounts(&file, usual_records),
            http: accounts::http(&file),
            stripe: accounts::stripe(&file),
            llm: llm::llm(&file),
            keys: file
                .keys
                .into_iter()
                .map(|key| KeyConfig {
                    key: key.key,
                    connections: key.connections.map_or(per_key, |n| count(n.0, per_key)),
                    tier: key.tier.map_or_else(|| ENTERPRISE.to_owned(), |tier| tier.0),
                })
                .collect(),
        }
    }

    /// The instruments that are served, under their aliases; those of venues that are switched off are left out.
    pub fn directory(&self) -> Directory {
        let mut directory = Directory::new();
        for symbol in &self.symbols {
            let on = self.venues.iter().any(|venue| venue.venue == symbol.venue && venue.enabled);
            let instrument = feeds::symbols::instrument(symbol.venue, &symbol.name);
            if !on {
                tracing::debug!(alias = symbol.alias, venue = %symbol.venue, "left out: its venue is switched off");
            } else if let Err(error) = directory.register(Some(&symbol.alias), instrument) {
                tracing::warn!(alias = symbol.alias, %error, "symbol left out");
            }
        }
        directory
    }
}

/// Where accounts are kept if nothing else is said, and the secret of tokens.
fn usual_records() -> (Option<RecordsUrl>, PathBuf) {
    let folder = Path::new(DATA_FOLDER);
    let url = RecordsUrl::parse(&format!("sqlite:{}", folder.join(RECORDS_FILE).display())).ok();
    (url, folder.join(SECRET_FILE))
}

fn store(file: &File) -> Option<StoreConfig> {
    let usual = || Some(StoreUrl::Redb(Path::new(DATA_FOLDER).join(HISTORY_FILE)));
    let url = file.store.url.clone().map_or_else(usual, |choice| choice.0)?;
    let seconds_days = file.store.seconds_days.map_or(0, |days| days.0.unsigned_abs());
    Some(StoreConfig { seconds_days, ..StoreConfig::new(url, file.store.folder.clone()) })
}

fn venues(file: &File) -> Vec<VenueConfig> {
    let of = |venue: Venue| {
        let feed = feeds::venue::feed(venue);
        let set = file.venues.get(&file::VenueName(venue));
        let ws_url = set.and_then(|set| set.ws_url.as_ref()).map(|url| url.0.clone());
        let rest_url = set.and_then(|set| set.rest_url.as_ref()).map(|url| url.0.clone());
        VenueConfig {
            venue,
            enabled: set.and_then(|set| set.enabled).unwrap_or(true),
            ws_url: ws_url.unwrap_or_else(|| feed.map_or("", |feed| feed.ws_base()).to_owned()),
            rest_url: rest_url.unwrap_or_else(|| feed.map_or("", |feed| feed.rest_base()).to_owned()),
        }
    };
    Venue::LIVE.into_iter().map(of).collect()
}

fn symbols(file: &File) -> Vec<SymbolConfig> {
    let given = |table: &BTreeMap<file::Alias, file::Source>| {
        let row = |(alias, source): (&file::Alias, &file::Source)| SymbolConfig {
            alias: alias.0.clone(),
            venue: source.venue,
            name: source.name.clone(),
        };
        table.iter().map(row).collect()
    };
    file.symbols.as_ref().map_or_else(default_symbols, given)
}

/// The symbols that are served where no table is given.
pub fn default_symbols() -> Vec<SymbolConfig> {
    let row =
        |(alias, venue, name): (&str, _, &str)| SymbolConfig { alias: alias.to_owned(), venue, name: name.to_owned() };
    feeds::symbols::default_symbols().map(row).collect()
}
