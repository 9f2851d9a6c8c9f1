//! `kandle tail`: channels in the terminal. Follows a stream over reconnects, resuming where it was.
//!
//! `screen` draws, `message` reads the server's ops; the connection is here.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::HeaderValue,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use self::{
    message::{Follower, Step},
    screen::Screen,
};
use crate::cli::TailArgs;

mod message;
mod screen;

const FRAME_BYTES_MAX: usize = 16 << 20;
const READ_BUFFER: usize = 16 << 10;
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// The server pings each 20 s: silence for longer than this is a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How one connection ended.
enum End {
    /// So many events were asked for, and came.
    Done,
    /// Cut; try again.
    Cut(String),
    /// Refused; trying again would not help.
    Refused(String),
}

/// Follows the channels until Ctrl-C or `--count`.
///
/// # Errors
/// If the URL or key cannot be used, or the server refuses them.
pub async fn run(args: &TailArgs) -> anyhow::Result<()> {
    let Some(key) = args.key.as_deref() else {
        bail!("no API key; give it in the environment as KANDLE_API_KEY, or with --key");
    };
    let mut screen = Screen::new(&args.channels);
    let mut follower = Follower::new(&args.channels, args.count);
    let followed = follow(args, key, &mut follower, &mut screen);
    tokio::select! {
        ended = followed => ended,
        pressed = tokio::signal::ctrl_c() => pressed.context("cannot listen to Ctrl-C"),
    }
}

async fn follow(args: &TailArgs, key: &str, follower: &mut Follower, screen: &mut Screen) -> anyhow::Result<()> {
    let mut wait = BACK_OFF_MIN;
    loop {
        let end = match connect(&args.url, key).await {
            Ok(mut socket) => {
                let end = converse(&mut socket, follower, screen).await?;
                if follower.is_welcome() {
                    wait = BACK_OFF_MIN;
                }
                end
            }
            Err(error) => End::Cut(cause(&error)),
        };
        match end {
            End::Done => return Ok(()),
            End::Refused(why) => bail!("{why}"),
            End::Cut(why) => {
                screen.note(&format!("{why}; trying again in {} ms", wait.as_millis()))?;
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

/// What an error says, with its causes.
fn cause(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

async fn connect(url: &str, key: &str) -> anyhow::Result<Socket> {
    // Strings keep every digit of a price: nothing here passes through a float.
    let mark = if url.contains('?') { '&' } else { '?' };
    let mut request = format!("{url}{mark}numbers=string")
        .into_client_request()
        .with_context(|| format!("{url:?} is no URL of a stream; use ws://HOST:PORT/v1/ws"))?;
    let mut bearer =
        HeaderValue::try_from(format!("Bearer {key}")).context("the key has characters that no key has")?;
    bearer.set_sensitive(true);
    request.headers_mut().insert("authorization", bearer);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let connected = Box::pin(connect_async_with_config(request, Some(config), true)).await;
    Ok(connected.with_context(|| format!("cannot connect to {url}"))?.0)
}

/// Subscribes and shows what comes, until the connection ends.
async fn converse(socket: &mut Socket, follower: &mut Follower, screen: &mut Screen) -> anyhow::Result<End> {
    follower.begin();
    if let Err(error) = socket.send(Message::text(follower.subscribe().to_string())).await {
        return Ok(End::Cut(error.to_string()));
    }
    loop {
        let Ok(next) = tokio::time::timeout(SILENCE_MAX, socket.next()).await else {
            return Ok(End::Cut("the server fell silent".to_owned()));
        };
        let text = match next {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(frame))) => return Ok(closed(frame)),
            Some(Ok(_)) => continue,
            Some(Err(Error::ConnectionClosed)) | None => return Ok(End::Cut("the connection was closed".to_owned())),
            Some(Err(error)) => return Ok(End::Cut(error.to_string())),
        };
        let Ok(message) = serde_json::from_str::<Value>(&text) else { continue };
        match follower.on_message(&message, screen)? {
            Step::Go => {}
            Step::Done => {
                // The server sees an orderly end, if it still listens.
                let _ = socket.close(None).await;
                return Ok(End::Done);
            }
            Step::Pong(ts) => {
                if let Err(error) = socket.send(Message::text(json!({"op": "pong", "ts": ts}).to_string())).await {
                    return Ok(End::Cut(error.to_string()));
                }
            }
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> End {
    let Some(frame) = frame else { return End::Cut("the connection was closed".to_owned()) };
    let code = u16::from(frame.code);
    let reason = message::plain(&frame.reason);
    match code {
        4401 => End::Refused(format!("4401: the API key is not accepted ({reason}); set KANDLE_API_KEY or --key")),
        4429 => End::Refused(format!("4429: the key has all its connections in use ({reason}); close another one")),
        4400 => End::Refused(format!("4400: {reason}")),
        code => End::Cut(format!("closed with {code} {reason}")),
    }
}
