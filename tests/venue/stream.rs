//! The combined stream: `/stream?streams=btcusdt@trade`, one message a trade when it is due, and pings.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, interval_at, sleep},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

use super::{Mood, Shared, recording::now_ms};

const PING_EVERY: Duration = Duration::from_secs(20);

pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        if !shared.mood.borrow().is_closed {
            tokio::spawn(connection(Arc::clone(&shared), stream));
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut wants = false;
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let read = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let streams = request.uri().query().unwrap_or_default().strip_prefix("streams=").unwrap_or_default();
        wants = request.uri().path() == "/stream" && streams.split('/').any(|name| name == "btcusdt@trade");
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(stream, read).await else { return };
    if wants {
        shared.streams.send_modify(|open| *open += 1);
        let _ = play(&shared, &mut socket).await;
        shared.streams.send_modify(|open| *open -= 1);
    }
}

/// Sends what becomes due until the connection ends; `None` when it does.
async fn play(shared: &Shared, socket: &mut WebSocketStream<TcpStream>) -> Option<()> {
    let mut moods = shared.mood.subscribe();
    let cuts = moods.borrow_and_update().cuts;
    let trades = shared.recording.trades();
    let mut next = shared.recording.count_by(now_ms());
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        let mood: Mood = moods.borrow_and_update().clone();
        if mood.cuts != cuts {
            return None;
        }
        let due = shared.recording.count_by(now_ms());
        if !mood.is_paused && next < due {
            for trade in &trades[next..due] {
                if !mood.lost.iter().any(|ids| ids.contains(&trade.id)) {
                    socket.feed(Message::text(trade.frame())).await.ok()?;
                }
            }
            socket.flush().await.ok()?;
            next = due;
        }
        let wait = trades.get(next).map_or(u64::MAX, |trade| u64::try_from(trade.told_ms - now_ms()).unwrap_or(0));
        tokio::select! {
            changed = moods.changed() => changed.ok()?,
            () = sleep(Duration::from_millis(wait.min(1_000))), if !mood.is_paused => {}
            _ = ping.tick() => socket.send(Message::Ping(now_ms().to_string().into_bytes().into())).await.ok()?,
            // The library answers pings itself.
            message = socket.next() => if message?.ok()?.is_close() {
                return None;
            },
        }
    }
}
