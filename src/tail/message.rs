//! The server's ops: what they say to the eye, and where to resume.

use std::io;

use serde_json::{Map, Value, json};

use super::screen::Screen;

/// The longest text of the server that is shown.
const SHOWN_CHARS_MAX: usize = 400;

/// What to do after a message.
pub(super) enum Step {
    /// Go on.
    Go,
    /// All events that were asked for have come.
    Done,
    /// Answer a ping.
    Pong(Value),
}

struct Place {
    channel: String,
    epoch: Option<Value>,
    seq: u64,
    gaps: u64,
}

/// Follows channels over connections.
pub(super) struct Follower {
    places: Vec<Place>,
    left: Option<u64>,
    welcome: bool,
}

impl Follower {
    /// At the beginning; ends after `count` events, if given.
    pub(super) fn new(channels: &[String], count: Option<u64>) -> Self {
        let place = |channel: &String| Place { channel: channel.clone(), epoch: None, seq: 0, gaps: 0 };
        Self { places: channels.iter().map(place).collect(), left: count, welcome: false }
    }

    /// A new connection.
    pub(super) fn begin(&mut self) {
        self.welcome = false;
    }

    /// Whether this connection was welcomed.
    pub(super) fn is_welcome(&self) -> bool {
        self.welcome
    }

    /// The `subscribe` op: resumes each channel that was followed before.
    pub(super) fn subscribe(&self) -> Value {
        let channels: Vec<&str> = self.places.iter().map(|place| place.channel.as_str()).collect();
        let since: Map<String, Value> = self
            .places
            .iter()
            .filter_map(|place| {
                Some((place.channel.clone(), json!({"epoch": place.epoch.as_ref()?, "seq": place.seq})))
            })
            .collect();
        json!({"op": "subscribe", "channels": channels, "since": since, "snapshot": 5})
    }

    /// Shows a message.
    ///
    /// # Errors
    /// If the terminal takes no more.
    pub(super) fn on_message(&mut self, message: &Value, screen: &mut Screen) -> io::Result<Step> {
        let channel = message["channel"].as_str().unwrap_or_default();
        let index = self.places.iter().position(|place| place.channel == channel);
        let place = index.and_then(|index| self.places.get_mut(index));
        match (message["op"].as_str().unwrap_or_default(), place) {
            ("welcome", _) => self.welcome = true,
            ("ping", _) => return Ok(Step::Pong(message["ts"].clone())),
            ("error", _) => {
                let text = |name: &str| plain(message[name].as_str().unwrap_or_default());
                screen.note(&format!("error {}: {} {}", text("code"), text("message"), text("channel")))?;
            }
            ("snapshot", Some(place)) => {
                place.epoch = Some(message["epoch"].clone());
                place.seq = message["seq"].as_u64().unwrap_or_default();
                let data = message["data"].as_array().map(Vec::as_slice).unwrap_or_default();
                for entry in data {
                    show(place, index, entry, screen)?;
                }
            }
            ("event", Some(place)) => {
                place.seq = message["seq"].as_u64().unwrap_or(place.seq);
                match message["data"].as_array() {
                    Some(entries) => entries.iter().try_for_each(|entry| show(place, index, entry, screen))?,
                    None => show(place, index, &message["data"], screen)?,
                }
                self.left = self.left.map(|left| left.saturating_sub(1));
                if self.left == Some(0) {
                    return Ok(Step::Done);
                }
            }
            ("gap", Some(place)) => {
                let text = |name: &str| plain(message[name].as_str().unwrap_or_default());
                place.gaps += u64::from(text("state") == "open");
                place.seq = message["seq"].as_u64().unwrap_or(place.seq);
                let (from, to) = (plain(&message["from"].to_string()), plain(&message["to"].to_string()));
                let line = format!("{}  gap {} {} from {from} to {to}", place.channel, text("state"), text("cause"));
                screen.scroll(&line)?;
            }
            _ => {}
        }
        Ok(Step::Go)
    }
}

/// Shows one candle, trade or ticker of a channel.
fn show(place: &Place, index: Option<usize>, entry: &Value, screen: &mut Screen) -> io::Result<()> {
    let line = line(place, entry);
    match (entry.get("is_closed"), index) {
        (Some(Value::Bool(true)), _) | (_, None) => screen.scroll(&line),
        (None, Some(_)) if entry.get("side").is_some() => screen.scroll(&line),
        (_, Some(index)) => screen.set(index, line),
    }
}

fn line(place: &Place, entry: &Value) -> String {
    let text = |name: &str| match &entry[name] {
        Value::String(text) => plain(text),
        Value::Null => "-".to_owned(),
        other => plain(&other.to_string()),
    };
    let clock = clock(entry["ts"].as_i64().unwrap_or_default());
    let gaps = if place.gaps > 0 { format!("  gaps {}", place.gaps) } else { String::new() };
    let channel = &place.channel;
    if entry.get("is_closed").is_some() {
        let mark = if entry["is_closed"] == true { "closed" } else { "open" };
        let revision = if entry["revision"] == 0 { String::new() } else { format!("  rev {}", text("revision")) };
        format!(
            "{channel}  {clock}  o {} h {} l {} c {}  v {}  n {}  {mark} {}{revision}{gaps}",
            text("open"),
            text("high"),
            text("low"),
            text("close"),
            text("volume"),
            text("trades"),
            text("state")
        )
    } else if entry.get("last").is_some() {
        let (last, change) = (text("last"), text("change_percent"));
        let (high, low, volume) = (text("high"), text("low"), text("volume"));
        format!("{channel}  {clock}  {last}  {change} %  24h high {high} low {low} volume {volume}{gaps}")
    } else {
        format!("{channel}  {clock}  {} {} @ {}  id {}", text("side"), text("quantity"), text("price"), text("id"))
    }
}

/// Hours, minutes, seconds and milliseconds of a moment, UTC.
fn clock(ms: i64) -> String {
    let day = ms.rem_euclid(86_400_000);
    let (seconds, ms) = (day / 1000, day % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Text of the server without control characters, which could move the cursor, and cut to a bounded length.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconnect_resumes_where_the_channel_was() {
        let channels = ["market.BTC.1m".to_owned(), "trades.BTC".to_owned()];
        let mut follower = Follower::new(&channels, Some(1));
        let mut screen = Screen::new(&channels);
        assert_eq!(follower.subscribe()["since"], json!({}));
        let snapshot = json!({"op": "snapshot", "channel": "market.BTC.1m", "epoch": "7", "seq": 3, "data": []});
        assert!(matches!(follower.on_message(&snapshot, &mut screen).unwrap(), Step::Go));
        let event = json!({"op": "event", "channel": "market.BTC.1m", "seq": 4, "data":
            {"ts": 60_000, "open": "1", "is_closed": false, "revision": 0, "state": "partial"}});
        assert!(matches!(follower.on_message(&event, &mut screen).unwrap(), Step::Done));
        assert_eq!(follower.subscribe()["since"], json!({"market.BTC.1m": {"epoch": "7", "seq": 4}}));
        assert!(matches!(follower.on_message(&json!({"op": "ping", "ts": 1}), &mut screen).unwrap(), Step::Pong(_)));
    }

    #[test]
    fn text_of_a_server_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\nc"), "a[2Jbc");
        assert_eq!(plain(&"x".repeat(1000)).len(), SHOWN_CHARS_MAX);
        assert_eq!(clock(86_399_999), "23:59:59.999");
    }
}
