//! Client ops: JSON text in, checked values out.

use std::collections::HashMap;

use engine::message::Position;
use serde_json::{Map, Value};

/// How many channels of one op are looked at.
pub(crate) const CHANNELS_MAX: usize = 1000;
const ID_BYTES_MAX: usize = 256;
const RATE_MS_MAX: u64 = 60_000;
const SNAPSHOT_MAX: u64 = 1000;
const SNAPSHOT_DEFAULT: u16 = 200;

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Op {
    Subscribe { channels: Vec<String>, beyond: usize, since: HashMap<String, Position>, rate_ms: u32, snapshot: u16 },
    Unsubscribe { channels: Vec<String>, beyond: usize },
    Ping { ts: Option<i64> },
    Pong,
    List,
}

/// A client op with the id that its answer repeats.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) id: Option<Value>,
    pub(crate) op: Result<Op, Fault>,
}

/// Why an op is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("not a JSON object")]
    Json,
    #[error("unknown op: use subscribe, unsubscribe, list, ping or pong")]
    UnknownOp,
    #[error("{0}")]
    Bad(&'static str),
}

impl Fault {
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Json => "bad_json",
            Self::UnknownOp => "unknown_op",
            Self::Bad(_) => "bad_request",
        }
    }

    /// Whether it counts towards closing the connection: the client does not speak this protocol.
    pub(crate) const fn is_foreign(&self) -> bool {
        matches!(self, Self::Json | Self::UnknownOp)
    }
}

impl Request {
    /// Reads a message. Unknown fields are ignored, unknown values are faults.
    pub(crate) fn parse(text: &str) -> Self {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
            return Self { id: None, op: Err(Fault::Json) };
        };
        let id = fields.remove("id").filter(|id| !id.is_null());
        if id.as_ref().is_some_and(|id| id.to_string().len() > ID_BYTES_MAX) {
            return Self { id: None, op: Err(Fault::Bad("id is limited to 256 bytes")) };
        }
        Self { id, op: parse_op(fields) }
    }
}

fn parse_op(mut fields: Map<String, Value>) -> Result<Op, Fault> {
    match fields.get("op").and_then(Value::as_str) {
        Some("subscribe") => {
            let (channels, beyond) = channels_of(fields.remove("channels"))?;
            let since = since_of(fields.remove("since"))?;
            let rate = integer(&fields, "rate_ms", RATE_MS_MAX, "rate_ms is an integer from 0 to 60000")?;
            let snapshot = integer(&fields, "snapshot", SNAPSHOT_MAX, "snapshot is an integer from 0 to 1000")?;
            let rate_ms = rate.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(0);
            let snapshot = snapshot.and_then(|count| u16::try_from(count).ok()).unwrap_or(SNAPSHOT_DEFAULT);
            Ok(Op::Subscribe { channels, beyond, since, rate_ms, snapshot })
        }
        Some("unsubscribe") => {
            let (channels, beyond) = channels_of(fields.remove("channels"))?;
            Ok(Op::Unsubscribe { channels, beyond })
        }
        Some("ping") => Ok(Op::Ping { ts: fields.get("ts").and_then(Value::as_i64) }),
        Some("pong") => Ok(Op::Pong),
        Some("list") => Ok(Op::List),
        _ => Err(Fault::UnknownOp),
    }
}

/// The first [`CHANNELS_MAX`] names, and how many more there are.
fn channels_of(value: Option<Value>) -> Result<(Vec<String>, usize), Fault> {
    let fault = Fault::Bad("channels is a list of channel names");
    let Some(Value::Array(values)) = value else { return Err(fault) };
    let beyond = values.len().saturating_sub(CHANNELS_MAX);
    let names = values.into_iter().take(CHANNELS_MAX).map(|value| match value {
        Value::String(name) => Ok(name),
        _ => Err(fault.clone()),
    });
    Ok((names.collect::<Result<_, _>>()?, beyond))
}

fn since_of(value: Option<Value>) -> Result<HashMap<String, Position>, Fault> {
    let fault = Fault::Bad("since maps channels to {\"epoch\":\"…\",\"seq\":n} as a snapshot gave them");
    let entries = match value {
        None | Some(Value::Null) => return Ok(HashMap::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(fault),
    };
    let positions = entries.into_iter().take(CHANNELS_MAX).map(|(channel, position)| {
        let epoch = position.get("epoch").and_then(Value::as_str).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let seq = position.get("seq").and_then(Value::as_u64);
        match (epoch, seq) {
            (Some(epoch), Some(seq)) => Ok((channel, Position { epoch, seq })),
            _ => Err(fault.clone()),
        }
    });
    positions.collect()
}

fn integer(fields: &Map<String, Value>, name: &str, max: u64, fault: &'static str) -> Result<Option<u64>, Fault> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().filter(|number| *number <= max).map(Some).ok_or(Fault::Bad(fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str) {
        assert_eq!(Request::parse(text).op.unwrap_err().code(), code, "{text}");
    }

    #[test]
    fn a_subscription_is_read_with_its_resume_positions() {
        let request = Request::parse(
            r#"{"op":"subscribe","channels":["a","b"],"since":{"a":{"epoch":"ff","seq":812}},"rate_ms":250,"id":[7],"x":1}"#,
        );
        assert_eq!(request.id, Some(serde_json::json!([7])));
        let since = HashMap::from([("a".to_owned(), Position { epoch: 255, seq: 812 })]);
        let channels = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(request.op, Ok(Op::Subscribe { channels, beyond: 0, since, rate_ms: 250, snapshot: 200 }));
        assert_eq!(Request::parse(r#"{"op":"pong","ts":1}"#).op, Ok(Op::Pong));
    }

    #[test]
    fn values_that_cannot_be_are_faults_with_a_code() {
        check("", "bad_json");
        check("[1]", "bad_json");
        check(&"[".repeat(60_000), "bad_json");
        check(r#"{"op":"fly"}"#, "unknown_op");
        check(r#"{"op":7}"#, "unknown_op");
        check(r#"{"op":"subscribe"}"#, "bad_request");
        check(r#"{"op":"subscribe","channels":[1]}"#, "bad_request");
        check(r#"{"op":"subscribe","channels":[],"rate_ms":60001}"#, "bad_request");
        check(r#"{"op":"subscribe","channels":[],"rate_ms":-1}"#, "bad_request");
        check(r#"{"op":"subscribe","channels":[],"snapshot":1001}"#, "bad_request");
        check(r#"{"op":"subscribe","channels":[],"since":{"a":{"epoch":"x","seq":1}}}"#, "bad_request");
        check(&format!(r#"{{"op":"list","id":"{}"}}"#, "x".repeat(256)), "bad_request");
    }

    #[test]
    fn only_the_first_thousand_channels_are_looked_at() {
        let names = vec!["x"; 1500];
        let text = serde_json::json!({"op": "unsubscribe", "channels": names}).to_string();
        let Ok(Op::Unsubscribe { channels, beyond }) = Request::parse(&text).op else { panic!() };
        assert_eq!((channels.len(), beyond), (1000, 500));
    }
}
