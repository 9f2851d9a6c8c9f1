//! The provider that every gateway asks: it answers at once and always the same, so that what is measured is the gateway.
//!
//! Answers are bytes that were written before. A stream is sent as fast as the connection takes it, each piece an event in
//! an HTTP chunk of its own, as providers send them.

use std::{net::SocketAddr, thread};

use anyhow::Context;
use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::ask::{Ask, PIECE, PIECES, TEXT, TOKENS_IN, TOKENS_WHOLE};

/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The answers.
struct Script {
    whole: Bytes,
    stream: Bytes,
    /// The first piece of a stream, and what ends one early.
    first: Bytes,
}

/// Starts it on a thread of its own, until the process ends.
///
/// # Errors
/// It cannot listen.
pub(crate) fn start() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("provider".to_owned()).spawn(move || runtime.block_on(serve(listener)))?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let script: &'static Script = Box::leak(Box::new(Script::new()));
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        // A connection that breaks is the gateway's to notice.
        tokio::spawn(async move { answer(socket, script).await });
    }
}

/// Answers one request after another, until the client hangs up.
async fn answer(mut socket: TcpStream, script: &Script) -> anyhow::Result<()> {
    let mut bytes = BytesMut::with_capacity(8 * 1024);
    loop {
        let Some(body) = request(&mut socket, &mut bytes).await? else { return Ok(()) };
        let asked =
            [Ask::Stream, Ask::Idle].into_iter().find(|ask| memmem::find(&body, ask.word().as_bytes()).is_some());
        match asked.unwrap_or(Ask::Whole) {
            Ask::Whole => socket.write_all(&script.whole).await?,
            Ask::Stream => socket.write_all(&script.stream).await?,
            Ask::Idle => {
                socket.write_all(&script.first).await?;
                // Nothing more, until the client has left.
                while socket.read_buf(&mut bytes).await? > 0 {
                    bytes.clear();
                }
                return Ok(());
            }
        }
    }
}

/// The body of the next request; `None` if there is none.
async fn request(socket: &mut TcpStream, bytes: &mut BytesMut) -> anyhow::Result<Option<BytesMut>> {
    let head = loop {
        if let Some(end) = memmem::find(bytes, b"\r\n\r\n") {
            break bytes.split_to(end + 4);
        }
        anyhow::ensure!(bytes.len() < HEAD_BYTES_MAX, "a head without an end");
        if socket.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = std::str::from_utf8(&head)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.context("a request without its length")?.1.trim().parse()?;
    while bytes.len() < length {
        anyhow::ensure!(socket.read_buf(bytes).await? > 0, "a request that breaks off");
    }
    let body = bytes.split_to(length);
    if !bytes.has_remaining() {
        bytes.reserve(8 * 1024);
    }
    Ok(Some(body))
}

impl Script {
    fn new() -> Self {
        let usage = |output: u64| json!({"prompt_tokens": TOKENS_IN, "completion_tokens": output, "total_tokens": TOKENS_IN + output});
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"});
        let body = json!({"id": "up-1", "object": "chat.completion", "created": 1, "model": "up-1",
            "choices": [choice], "usage": usage(TOKENS_WHOLE)});
        let body = body.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
        let whole = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into();

        let chunk = |choices: serde_json::Value, usage: serde_json::Value| {
            let event = json!({"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "up-1",
                "choices": choices, "usage": usage});
            event.to_string()
        };
        let delta = |delta: serde_json::Value, finish: Option<&str>| {
            chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), json!(null))
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let begin = format!("{head}{}", event(&delta(json!({"role": "assistant", "content": ""}), None)));
        let piece = |number: usize| event(&delta(json!({"content": format!("{PIECE}{number} ")}), None));
        let mut stream = begin.clone();
        stream.extend((0..PIECES).map(piece));
        stream.push_str(&event(&delta(json!({}), Some("stop"))));
        stream.push_str(&event(&chunk(json!([]), usage(PIECES as u64))));
        stream.push_str(&event("[DONE]"));
        stream.push_str("0\r\n\r\n");
        Self { whole, stream: stream.into(), first: format!("{begin}{}", piece(0)).into() }
    }
}

/// An event in an HTTP chunk of its own.
fn event(data: &str) -> String {
    let text = format!("data: {data}\n\n");
    format!("{:x}\r\n{text}\r\n", text.len())
}
