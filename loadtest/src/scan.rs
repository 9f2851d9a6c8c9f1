//! Reads an event's head and its newest id without a JSON parser: at a million events a second nothing else is affordable.

use memchr::memmem;

/// The head of an event and its data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) channel: &'a [u8],
    pub(crate) seq: u64,
    /// The server's milliseconds.
    pub(crate) ts: u64,
    pub(crate) skipped: u64,
    /// Up to the brace that ends the event.
    pub(crate) data: &'a [u8],
}

const HEAD: &[u8] = br#"{"op":"event","channel":""#;

/// The event that `text` is; `None` if it is another op, or written another way.
#[inline]
pub(crate) fn event(text: &[u8]) -> Option<Event<'_>> {
    let rest = text.strip_prefix(HEAD)?;
    let (channel, rest) = rest.split_at_checked(memchr::memchr(b'"', rest)?)?;
    let (seq, rest) = number(rest.strip_prefix(br#"","seq":"#)?)?;
    let (ts, mut rest) = number(rest.strip_prefix(br#","ts":"#)?)?;
    let mut skipped = 0;
    if let Some(more) = rest.strip_prefix(br#","skipped":"#) {
        (skipped, rest) = number(more)?;
    }
    let data = rest.strip_prefix(br#","data":"#)?.strip_suffix(b"}")?;
    Some(Event { channel, seq, ts, skipped, data })
}

/// A whole number at the start, and what follows it.
#[inline]
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    let mut rest = text;
    while let [digit @ b'0'..=b'9', more @ ..] = rest {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        rest = more;
    }
    (rest.len() < text.len()).then_some((value, rest))
}

/// The id of the newest trade of an open candle. A closed one tells of its end, not of a trade.
#[inline]
pub(crate) fn candle_id(data: &[u8]) -> Option<u64> {
    const KEY: &[u8] = br#""last_id":"#;
    // It is the last field: a key, twenty digits and a brace.
    let tail = data.get(data.len().saturating_sub(KEY.len() + 21)..)?;
    let at = tail.windows(KEY.len()).position(|window| window == KEY)?;
    let (id, _) = number(tail.get(at + KEY.len()..)?)?;
    memmem::find(data, br#""is_closed":false"#).map(|_| id)
}

/// The ids of a `trades` event, oldest first.
pub(crate) fn trade_ids(data: &[u8]) -> impl Iterator<Item = u64> {
    const KEY: &[u8] = br#"{"id":"#;
    memmem::find_iter(data, KEY).filter_map(|at| number(data.get(at + KEY.len()..)?)).map(|(id, _)| id)
}

/// The last of them, found from the end.
#[inline]
pub(crate) fn newest_trade_id(data: &[u8]) -> Option<u64> {
    let at = memchr::memrchr(b'{', data)?;
    number(data.get(at..)?.strip_prefix(br#"{"id":"#)?).map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDLE: &str =
        r#"{"symbol":"S0","is_closed":false,"source":"sim:S0","first_id":5,"last_id":1700000000000001}"#;

    #[test]
    fn the_head_of_an_event_is_read_with_and_without_skipped() {
        let text = format!(r#"{{"op":"event","channel":"market.S0.1s","seq":12,"ts":1700,"data":{CANDLE}}}"#);
        let data = CANDLE.as_bytes();
        let want = Event { channel: b"market.S0.1s", seq: 12, ts: 1700, skipped: 0, data };
        assert_eq!(event(text.as_bytes()), Some(want));
        let told = text.replace(r#","data""#, r#","skipped":3,"data""#);
        assert_eq!(event(told.as_bytes()).unwrap().skipped, 3);
        for cut in 0..text.len() {
            assert_eq!(
                event(&text.as_bytes()[..cut]).map(|event| event.data == data),
                None.or_else(|| {
                    // The brace of the candle may stand for that of the event; its data is then cut as well.
                    (cut == text.len() - 1).then_some(false)
                }),
                "{cut}"
            );
        }
        assert_eq!(event(br#"{"op":"gap","channel":"a"}"#), None);
        assert_eq!(event(br#"{"op":"event","channel":"a","seq":99999999999999999999,"ts":1,"data":1}"#), None);
    }

    #[test]
    fn the_newest_id_is_that_of_an_open_candle_or_of_the_last_trade() {
        assert_eq!(candle_id(CANDLE.as_bytes()), Some(1_700_000_000_000_001));
        assert_eq!(candle_id(CANDLE.replace("false", "true").as_bytes()), None);
        assert_eq!(candle_id(br#"{"is_closed":false,"first_id":null,"last_id":null}"#), None);
        assert_eq!(candle_id(b""), None);
        let trades = br#"[{"id":7,"ts":1,"side":"buy"},{"id":9,"ts":1,"side":"buy"}]"#;
        assert_eq!(trade_ids(trades).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(newest_trade_id(trades), Some(9));
        assert_eq!(newest_trade_id(b"[]"), None);
    }
}
