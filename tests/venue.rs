//! Binance as its clients see it, on loopback, playing recorded real trades as if they happened now.
//!
//! `recording` (the trades, shifted in time once) → `calendar`, `klines` (candles, by other means than the program's) →
//! `stream` (WebSocket) and `rest` (HTTP). Trades before now are history that REST gives; the others come when they are
//! due. Ids stay as they were recorded.

use std::{net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use tokio::{net::TcpListener, runtime::Runtime, sync::watch, time::Instant};

pub(crate) use self::{
    klines::{Kline, klines},
    recording::{Recorded, Recording},
};

mod calendar;
mod checks;
pub(crate) mod klines;
pub(crate) mod recording;
mod rest;
mod stream;

/// What the test makes the venue do.
#[derive(Clone, Debug, Default)]
struct Mood {
    /// Trades that are due wait; REST gives them.
    is_paused: bool,
    /// Ids that no connection is sent.
    lost: Vec<Range<u64>>,
    /// Rises with each cut: connections from before end without a word.
    cuts: u64,
    /// New connections are dropped before the handshake.
    is_closed: bool,
    /// REST answers with this status until then.
    refusal: Option<(u16, Instant)>,
}

/// What all of the venue's connections share.
struct Shared {
    recording: Recording,
    mood: watch::Sender<Mood>,
    /// How many streams are open.
    streams: watch::Sender<usize>,
    /// How many REST requests came.
    requests: watch::Sender<u64>,
}

/// See the module.
pub(crate) struct Venue {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    ws: SocketAddr,
    rest: SocketAddr,
}

impl Venue {
    /// A venue at which `history` of the bundled recording has already happened.
    pub(crate) fn open(history: Duration) -> Self {
        Self::play(Recording::bundled().begun(history))
    }

    /// A venue that plays this recording, whose times are those of now.
    pub(crate) fn play(recording: Recording) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            recording,
            mood: watch::Sender::default(),
            streams: watch::Sender::default(),
            requests: watch::Sender::default(),
        });
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (ws, rest) = (bind(), bind());
        let (ws_address, rest_address) = (ws.local_addr().unwrap(), rest.local_addr().unwrap());
        runtime.spawn(stream::serve(Arc::clone(&shared), ws));
        runtime.spawn(rest::serve(Arc::clone(&shared), rest));
        Self { runtime: Some(runtime), shared, ws: ws_address, rest: rest_address }
    }

    /// The part of a configuration that makes this the only venue, with `BTC` its only symbol.
    pub(crate) fn config(&self) -> String {
        let others = ["coinbase", "kraken", "bybit", "okx", "hyperliquid"];
        let off: String = others.iter().map(|name| format!("[venues.{name}]\nenabled = false\n")).collect();
        let (ws, rest) = (self.ws, self.rest);
        format!(
            "[venues.binance]\nws_url = \"ws://{ws}\"\nrest_url = \"http://{rest}\"\n{off}\
             [symbols]\nBTC = \"binance:BTCUSDT\"\n"
        )
    }

    /// Where its REST interface is.
    pub(crate) const fn rest(&self) -> SocketAddr {
        self.rest
    }

    /// What it plays.
    pub(crate) fn recording(&self) -> &Recording {
        &self.shared.recording
    }

    /// Holds back what is due on the stream, or sends it again, beginning with what was held.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.shared.mood.send_modify(|mood| mood.is_paused = is_paused);
    }

    /// Never streams the next `count` trades or some more; REST has them. Gives their ids.
    ///
    /// Whole orders are lost: REST joins the fills of one, and a hole that ends within an order cannot be filled from it.
    pub(crate) fn lose(&self, count: usize) -> Range<u64> {
        let recording = self.recording();
        let next = recording.count_by(recording::now_ms());
        let coming = &recording.trades()[next..];
        let mut borders = coming.windows(2).filter(|pair| !pair[0].is_one_order_with(&pair[1]));
        let first = borders.next().unwrap()[1].id;
        let end = borders.find(|pair| pair[1].id >= first + count as u64).unwrap()[1].id;
        self.shared.mood.send_modify(|mood| mood.lost.push(first..end));
        first..end
    }

    /// Cuts every stream without a word.
    pub(crate) fn cut(&self) {
        self.shared.mood.send_modify(|mood| mood.cuts += 1);
    }

    /// Takes no new streams, or takes them again.
    pub(crate) fn close_door(&self, is_closed: bool) {
        self.shared.mood.send_modify(|mood| mood.is_closed = is_closed);
    }

    /// Answers REST requests with `status` for a while.
    pub(crate) fn refuse(&self, status: u16, span: Duration) {
        let until = Instant::now() + span;
        self.shared.mood.send_modify(|mood| mood.refusal = Some((status, until)));
    }

    /// Waits until so many streams are open.
    pub(crate) fn await_streams(&self, count: usize) {
        let mut streams = self.shared.streams.subscribe();
        let came = async {
            tokio::time::timeout(Duration::from_secs(40), streams.wait_for(|open| *open == count)).await.is_ok()
        };
        assert!(self.runtime.as_ref().unwrap().block_on(came), "there are not {count} streams");
    }

    /// How many REST requests came so far.
    pub(crate) fn requests(&self) -> u64 {
        *self.shared.requests.borrow()
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
