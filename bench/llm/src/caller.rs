//! One caller: a kept connection that makes one call after another and checks each answer. The same code for all gateways.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::ask::{Ask, pieces};

/// No call may take longer, whoever answers it.
const CALL_MAX: Duration = Duration::from_secs(60);

/// Where calls go.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// Of the URL.
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) model: String,
}

/// See the module.
pub(crate) struct Caller {
    endpoint: Rc<Endpoint>,
    ask: Ask,
    body: Bytes,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Caller {
    /// A caller that is not connected yet.
    pub(crate) fn new(endpoint: &Rc<Endpoint>, ask: Ask) -> Self {
        Self { endpoint: Rc::clone(endpoint), ask, body: ask.body(&endpoint.model).into(), sender: None }
    }

    /// Makes a call, checks its answer, tells `seen` of pieces as they come, and says how long it took.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub(crate) async fn call(&mut self, seen: impl FnMut(usize)) -> anyhow::Result<Duration> {
        timeout(CALL_MAX, self.whole(seen)).await.context("no answer within a minute")?
    }

    async fn whole(&mut self, mut seen: impl FnMut(usize)) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut body = self.open().await?;
        let mut text = Vec::with_capacity(if self.ask.is_stream() { 512 * 1024 } else { 1024 });
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                if self.ask.is_stream() {
                    seen(pieces(&data));
                }
                text.extend_from_slice(&data);
            }
        }
        let took = begun.elapsed();
        self.ask.check(&text)?;
        Ok(took)
    }

    /// Makes a call and waits for the first piece; the rest is the caller's, who hangs up by dropping it.
    ///
    /// # Errors
    /// It does not come.
    pub(crate) async fn first_piece(&mut self) -> anyhow::Result<Incoming> {
        let first = async {
            let mut body = self.open().await?;
            loop {
                let frame = body.frame().await.context("the stream ended")??;
                if frame.data_ref().is_some_and(|data| pieces(data) > 0) {
                    return Ok(body);
                }
            }
        };
        timeout(CALL_MAX, first).await.context("no piece within a minute")?
    }

    async fn open(&mut self) -> anyhow::Result<Incoming> {
        let response = self.send().await?;
        let status = response.status();
        if !status.is_success() {
            let text = response.into_body().collect().await?.to_bytes();
            anyhow::bail!("status {status}: {}", String::from_utf8_lossy(&text));
        }
        let kind = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        let wanted: &[u8] = if self.ask.is_stream() { b"text/event-stream" } else { b"application/json" };
        ensure!(kind.starts_with(wanted), "the answer is {:?}", String::from_utf8_lossy(kind));
        Ok(response.into_body())
    }

    async fn send(&mut self) -> anyhow::Result<Response<Incoming>> {
        let mut kept = self.sender.take();
        // Gateways may close a connection between two calls.
        let is_ready = match &mut kept {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match kept {
            Some(sender) if is_ready => sender,
            _ => connect(self.endpoint.address).await?,
        };
        let Endpoint { address, path, key, .. } = &*self.endpoint;
        let request = Request::post(path.as_str())
            .header(HOST, address.to_string())
            .header(AUTHORIZATION, format!("Bearer {key}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))?;
        let response = sender.send_request(request).await?;
        self.sender = Some(sender);
        Ok(response)
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    // What goes wrong with it shows in its calls.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}
