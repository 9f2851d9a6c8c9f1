//! What each server is told: how to follow channels, how to publish. The payload is the same text everywhere.

use std::io::Write;

use crate::wire::{client_frame, handshake};

/// How many ids a channel has for itself.
const CHANNEL_IDS: u64 = 1_000_000_000;
/// The first channel's share; ids below it are no events: answers to commands have such. With it all ids have 11 digits.
const FIRST: u64 = 10;
/// A label fills the event up to about 204 bytes on the wire.
const LABEL_BYTES: usize = 39;
/// The key that a bench server of ours grants its connections to.
pub(crate) const API_KEY: &str = "kai-bench";

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// WebSocket text: `S<channel>` and `P<channel>\n<payload>`.
    Plain,
    /// The product's own ops; trades enter through a port of their own, one line each.
    Kandle,
    /// The NATS protocol in WebSocket frames.
    Nats,
    /// The JSON protocol of Centrifuge.
    Centrifuge,
}

/// The id of the event of a round on a channel: it rises by one within a channel, and tells which channel it is.
pub(crate) fn id_of(channel: usize, round: u32) -> u64 {
    (channel as u64 + FIRST) * CHANNEL_IDS + u64::from(round)
}

/// Channel and round of an id, unless it is no event's.
pub(crate) fn event_of(id: u64) -> Option<(usize, u32)> {
    let channel = (id / CHANNEL_IDS).checked_sub(FIRST)?;
    Some((usize::try_from(channel).ok()?, u32::try_from(id % CHANNEL_IDS).ok()?))
}

/// The symbol behind a channel.
pub(crate) fn label(channel: usize) -> String {
    format!("{:X<LABEL_BYTES$}", format!("BENCH{channel:02}"))
}

/// The event's text, 200 bytes.
pub(crate) fn payload(channel: usize, round: u32) -> String {
    let (label, id) = (label(channel), id_of(channel, round));
    let seq = 1000 + round % 9000;
    format!(
        "{{\"op\":\"event\",\"channel\":\"trades.{label}\",\"seq\":{seq},\"ts\":1732262400130,\"data\":[{{\"id\":{id},\
         \"ts\":1732262400130,\"price\":68123.45,\"quantity\":0.150001,\"side\":\"buy\"}}]}}"
    )
}

impl Dialect {
    /// The request that opens a connection.
    pub(crate) fn opening(self) -> Vec<u8> {
        match self {
            Self::Plain | Self::Nats => handshake("/", None),
            Self::Kandle => handshake(&format!("/v1/ws?api_key={API_KEY}"), None),
            Self::Centrifuge => handshake("/connection/websocket", None),
        }
    }

    /// What a subscriber says first: it follows the first `channels` channels.
    pub(crate) fn follow(self, channels: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let names = (0..channels).map(|channel| format!("trades.{}", label(channel)));
        match self {
            Self::Plain => names.for_each(|name| client_frame(&mut out, format!("S{name}").as_bytes())),
            Self::Kandle => {
                let names: Vec<_> = names.collect();
                let op = serde_json::json!({"op": "subscribe", "channels": names, "snapshot": 0});
                client_frame(&mut out, op.to_string().as_bytes());
            }
            Self::Nats => {
                client_frame(&mut out, NATS_CONNECT);
                names.enumerate().for_each(|(at, name)| {
                    client_frame(&mut out, format!("SUB {name} {}\r\n", at + 1).as_bytes());
                });
            }
            Self::Centrifuge => {
                client_frame(&mut out, CENTRIFUGE_CONNECT);
                names.enumerate().for_each(|(at, name)| {
                    let command = format!("{{\"id\":{},\"subscribe\":{{\"channel\":\"{name}\"}}}}", at + 2);
                    client_frame(&mut out, command.as_bytes());
                });
            }
        }
        out
    }

    /// What the publisher says first.
    pub(crate) fn greet(self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Plain | Self::Kandle => {}
            Self::Nats => client_frame(&mut out, NATS_CONNECT),
            Self::Centrifuge => client_frame(&mut out, CENTRIFUGE_CONNECT),
        }
        out
    }

    /// Appends the publication of a round's event on a channel.
    pub(crate) fn publish(self, channel: usize, round: u32, out: &mut Vec<u8>) {
        let name = || format!("trades.{}", label(channel));
        let text = match self {
            Self::Plain => format!("P{}\n{}", name(), payload(channel, round)),
            Self::Kandle => {
                // A vector takes all that is written to it.
                let _ = writeln!(out, "{channel} {}", id_of(channel, round));
                return;
            }
            Self::Nats => {
                let data = payload(channel, round);
                format!("PUB {} {}\r\n{data}\r\n", name(), data.len())
            }
            Self::Centrifuge => {
                let data = payload(channel, round);
                format!("{{\"id\":{},\"publish\":{{\"channel\":\"{}\",\"data\":{data}}}}}", round % 1000 + 2, name())
            }
        };
        client_frame(out, text.as_bytes());
    }
}

const NATS_CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\nPING\r\n";
const CENTRIFUGE_CONNECT: &[u8] = b"{\"id\":1,\"connect\":{}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_two_hundred_bytes_in_every_channel_and_round() {
        for (channel, round) in [(0, 1), (9, 999), (49, 70_000), (49, 123_456_789)] {
            assert_eq!(payload(channel, round).len(), 200);
            assert_eq!(event_of(id_of(channel, round)), Some((channel, round)));
        }
    }

    #[test]
    fn ids_of_answers_are_no_events() {
        assert_eq!(event_of(0), None);
        assert_eq!(event_of(1001), None);
    }
}
