//! Recorded trades, moved to the present as a whole.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::support::read;

/// A trade with its texts as they were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) id: u64,
    /// When it happened.
    pub(crate) ms: i64,
    /// When the venue told of it, which is when it is due on the stream.
    pub(crate) told_ms: i64,
    pub(crate) price: String,
    pub(crate) quantity: String,
    /// The buyer was the maker: the taker sold.
    pub(crate) is_sell: bool,
}

impl Recorded {
    fn parse(line: &str) -> Option<Self> {
        let frame: Value = serde_json::from_str(line.split_once(' ')?.1).ok()?;
        let data = &frame["data"];
        (data["e"] == "trade").then_some(())?;
        Some(Self {
            id: data["t"].as_u64()?,
            ms: data["T"].as_i64()?,
            told_ms: data["E"].as_i64()?,
            price: data["p"].as_str()?.to_owned(),
            quantity: data["q"].as_str()?.to_owned(),
            is_sell: data["m"].as_bool()?,
        })
    }

    /// Whether REST joins the two neighbours: fills of one price, side and moment.
    pub(crate) fn is_one_order_with(&self, next: &Self) -> bool {
        (self.ms, &self.price, self.is_sell) == (next.ms, &next.price, next.is_sell)
    }

    /// The message of the combined stream, byte for byte in the recorded shape.
    pub(crate) fn frame(&self) -> String {
        let Self { id, ms, told_ms, price, quantity, is_sell } = self;
        format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{told_ms},"s":"BTCUSDT","t":{id},"p":"{price}","q":"{quantity}","T":{ms},"m":{is_sell},"M":true}}}}"#
        )
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Recording(Vec<Recorded>);

impl Recording {
    /// The trades of `kandle demo`: eleven minutes of Binance BTCUSDT.
    pub(crate) fn bundled() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/binance_btcusdt_trades_2024-08-08.jsonl.zst");
        Self::parse(&read(&file))
    }

    /// The trade messages among `<ns> <json>` lines.
    pub(crate) fn parse(lines: &str) -> Self {
        let trades: Vec<_> = lines.lines().filter_map(Recorded::parse).collect();
        assert!(trades.windows(2).all(|pair| pair[1].id == pair[0].id + 1), "the recording has a hole");
        assert!(trades.windows(2).all(|pair| pair[1].told_ms >= pair[0].told_ms), "the recording is in disorder");
        Self(trades)
    }

    /// Moved so that its first trade happened `history` ago.
    pub(crate) fn begun(self, history: Duration) -> Self {
        let start = self.0[0].ms;
        self.moved(now_ms() - i64::try_from(history.as_millis()).unwrap() - start)
    }

    /// Moved by so many milliseconds.
    pub(crate) fn moved(mut self, by: i64) -> Self {
        for trade in &mut self.0 {
            trade.ms += by;
            trade.told_ms += by;
        }
        self
    }

    pub(crate) fn trades(&self) -> &[Recorded] {
        &self.0
    }

    /// How many trades the venue has told of by `ms`.
    pub(crate) fn count_by(&self, ms: i64) -> usize {
        self.0.partition_point(|trade| trade.told_ms <= ms)
    }

    /// What the venue has told of by now.
    pub(crate) fn past(&self) -> &[Recorded] {
        &self.0[..self.count_by(now_ms())]
    }
}

#[expect(clippy::disallowed_methods, reason = "the venue of these tests has a clock of its own")]
pub(crate) fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
