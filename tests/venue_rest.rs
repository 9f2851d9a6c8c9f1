//! The REST side of a venue, in this process: pages of candles in the venue's own shape, with its bounds and its faults.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use engine::market::Venue;
use serde_json::{Value, json};

pub(crate) const MINUTE_MS: i64 = 60_000;

/// One minute of a market.
#[derive(Clone, Debug)]
pub(crate) struct Minute {
    pub(crate) ms: i64,
    /// Open, high, low, close.
    pub(crate) prices: [String; 4],
    pub(crate) volume: String,
    pub(crate) trades: u64,
    pub(crate) is_quiet: bool,
}

impl Minute {
    /// Time and the five values, as the store's rows are shown.
    pub(crate) fn row(&self) -> String {
        let cells = self.prices.iter().chain([&self.volume]).map(|text| crate::support::trimmed(text));
        format!("{},{}", self.ms, cells.collect::<Vec<_>>().join(","))
    }

    pub(crate) fn quote(&self) -> String {
        format!("{}.5", self.trades * 7)
    }
}

/// So many minutes up to the present one, which is open. Each seventh is quiet.
#[expect(clippy::disallowed_methods, reason = "the program under test compares with the wall clock")]
pub(crate) fn market(count: i64) -> Vec<Minute> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let first = now.div_euclid(MINUTE_MS) - count + 1;
    let mut close = 6_000_000;
    let minute = |index: i64| {
        let is_quiet = index % 7 == 4 || (100..115).contains(&index);
        let open = if is_quiet { close } else { close + index * 37 % 101 - 50 };
        close = if is_quiet { close } else { open + index * 53 % 91 - 45 };
        let text = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
        let (high, low) =
            if is_quiet { (close, close) } else { (open.max(close) + index % 13, open.min(close) - index % 11) };
        let volume = if is_quiet { "0".to_owned() } else { format!("{}.{:03}", index % 17, 1 + index % 900) };
        let trades = if is_quiet { 0 } else { 1 + (index as u64) % 400 };
        let ms = (first + index) * MINUTE_MS;
        Minute { ms, prices: [open, high, low, close].map(text), volume, trades, is_quiet }
    };
    (0..count).map(minute).collect()
}

#[derive(Default)]
struct Visits {
    times: Vec<Instant>,
    /// What the next requests get instead of a page.
    spoilt: Vec<&'static str>,
}

/// See the module.
pub(crate) struct VenueRest {
    pub(crate) venue: Venue,
    pub(crate) url: String,
    visits: Arc<(Mutex<Visits>, Condvar)>,
}

impl VenueRest {
    pub(crate) fn open(venue: Venue, minutes: Vec<Minute>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let visits = Arc::<(Mutex<Visits>, Condvar)>::default();
        let shared = Arc::clone(&visits);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, venue, &minutes, &shared);
            }
        });
        Self { venue, url, visits }
    }

    /// The next requests get these answers, the last one first to be used up last.
    pub(crate) fn spoil(&self, answers: &[&'static str]) {
        self.visits.0.lock().unwrap().spoilt = answers.iter().rev().copied().collect();
    }

    pub(crate) fn hits(&self) -> usize {
        self.visits.0.lock().unwrap().times.len()
    }

    /// Waits until so many requests have come.
    pub(crate) fn until_hits(&self, hits: usize) {
        let (visits, came) = &*self.visits;
        let wait = came
            .wait_timeout_while(visits.lock().unwrap(), Duration::from_secs(20), |visits| visits.times.len() < hits);
        assert!(!wait.unwrap().1.timed_out(), "no request {hits}");
    }

    /// How long each request came after the one before.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.visits.0.lock().unwrap().times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// One request a connection.
fn answer(mut stream: TcpStream, venue: Venue, minutes: &[Minute], visits: &(Mutex<Visits>, Condvar)) {
    let Some((target, body)) = request(&mut stream) else { return };
    let spoilt = {
        let mut visits = visits.0.lock().unwrap();
        visits.times.push(Instant::now());
        visits.spoilt.pop()
    };
    visits.1.notify_all();
    let page = page(venue, &target, &body, minutes);
    let (status, page) = match (spoilt, page) {
        (Some("cut"), Ok(page)) => {
            let text = page.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
            let _ = stream.write_all([head.as_bytes(), &text.as_bytes()[..text.len() / 2]].concat().as_slice());
            return;
        }
        (Some(status), _) => (status, json!({})),
        (None, Ok(page)) => ("200 OK", page),
        (None, Err(message)) => ("400 Bad Request", json!({ "message": message })),
    };
    let text = page.to_string();
    let length = text.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nretry-after: 1\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all([head, text].concat().as_bytes());
}

/// The target and body of a request.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok();
            if body.len() >= head.lines().find_map(length).unwrap_or(0) {
                return Some((head.split(' ').nth(1)?.to_owned(), body.to_owned()));
            }
        }
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
    }
}

/// A page as the venue gives it, or what it says to a question that it does not take.
fn page(venue: Venue, target: &str, body: &str, minutes: &[Minute]) -> Result<Value, String> {
    let number = |name: &str| -> Result<i64, String> {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let value = query.split('&').find_map(|part| part.strip_prefix(&format!("{name}=")));
        value.and_then(|value| value.parse().ok()).ok_or_else(|| format!("{name} is missing in {target}"))
    };
    let between = |first: i64, last: i64| minutes.iter().filter(move |minute| (first..=last).contains(&minute.ms));
    let count = |name| number(name).map(|count| usize::try_from(count).unwrap());
    match venue {
        // The oldest ones of the range.
        Venue::Binance => {
            let rows = between(number("startTime")?, number("endTime")?).take(count("limit")?.min(1000));
            Ok(rows.map(binance).collect())
        }
        // Newest first, without quiet minutes; low before high.
        Venue::Coinbase => {
            let (start, end) = (number("start")? * 1000, number("end")? * 1000);
            if (end - start) / (number("granularity")? * 1000) > 300 {
                return Err("granularity too small for the requested time range".to_owned());
            }
            let rows: Vec<&Minute> = between(start, end).filter(|minute| !minute.is_quiet).collect();
            Ok(rows.into_iter().rev().map(coinbase).collect())
        }
        // The newest 720 behind `since`, the open one among them.
        Venue::Kraken => {
            let since = number("since")? * 1000;
            let newest = minutes.len().saturating_sub(720);
            let rows = minutes[newest..].iter().filter(|minute| minute.ms > since).map(kraken);
            Ok(json!({ "error": [], "result": { "XXBTZUSD": rows.collect::<Value>(), "last": 0 } }))
        }
        // The newest ones of the range, newest first.
        Venue::Bybit => {
            let rows: Vec<&Minute> = between(number("start")?, number("end")?).collect();
            let rows = rows.into_iter().rev().take(count("limit")?.min(1000)).map(bybit);
            Ok(
                json!({ "retCode": 0, "retMsg": "OK", "result": { "category": "spot", "list": rows.collect::<Value>() } }),
            )
        }
        Venue::Okx => {
            let rows: Vec<&Minute> = between(number("before")? + 1, number("after")? - 1).collect();
            let open = minutes.last().map_or(0, |minute| minute.ms);
            let rows =
                rows.into_iter().rev().take(count("limit")?.min(300)).map(|minute| okx(minute, minute.ms < open));
            Ok(json!({ "code": "0", "msg": "", "data": rows.collect::<Value>() }))
        }
        _ => {
            let request: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
            let time = |name: &str| request["req"][name].as_i64().ok_or(format!("{name} is missing"));
            Ok(between(time("startTime")?, time("endTime")?).map(hyperliquid).collect())
        }
    }
}

fn binance(minute: &Minute) -> Value {
    let [open, high, low, close] = &minute.prices;
    let quote = if minute.is_quiet { "0".to_owned() } else { minute.quote() };
    json!([
        minute.ms,
        open,
        high,
        low,
        close,
        minute.volume,
        minute.ms + MINUTE_MS - 1,
        quote,
        minute.trades,
        minute.volume,
        "0",
        "0"
    ])
}

fn coinbase(minute: &Minute) -> Value {
    // Numbers, spelt out so that nothing passes through a float.
    let [open, high, low, close] = minute.prices.each_ref().map(|text| number(text));
    json!([minute.ms / 1000, low, high, open, close, number(&minute.volume)])
}

fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn kraken(minute: &Minute) -> Value {
    let [open, high, low, close] = &minute.prices;
    json!([minute.ms / 1000, open, high, low, close, "0.0", minute.volume, minute.trades])
}

fn bybit(minute: &Minute) -> Value {
    let [open, high, low, close] = &minute.prices;
    let quote = if minute.is_quiet { "0".to_owned() } else { minute.quote() };
    json!([minute.ms.to_string(), open, high, low, close, minute.volume, quote])
}

fn okx(minute: &Minute, is_over: bool) -> Value {
    let [open, high, low, close] = &minute.prices;
    let confirm = if is_over { "1" } else { "0" };
    json!([minute.ms.to_string(), open, high, low, close, minute.volume, "0", "0", confirm])
}

fn hyperliquid(minute: &Minute) -> Value {
    let [open, high, low, close] = &minute.prices;
    let (t, v, n) = (minute.ms, &minute.volume, minute.trades);
    json!({ "t": t, "T": t + MINUTE_MS - 1, "s": "BTC", "i": "1m", "o": open, "h": high, "l": low, "c": close, "v": v, "n": n })
}
