//! A client that keeps its connection, reads an answer to its end and looks at nothing in it.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// See the module.
pub(crate) struct Client(SendRequest<Empty<Bytes>>);

/// What came.
pub(crate) struct Answer {
    /// How long the body was.
    pub(crate) bytes: usize,
    /// Its tag.
    pub(crate) tag: Option<String>,
    /// The body, in the parts that came.
    parts: Vec<Bytes>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        // It ends with the sender.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(sender))
    }

    /// Asks and waits for the last byte.
    pub(crate) async fn get(&mut self, path: &str, tag: Option<&str>) -> anyhow::Result<Answer> {
        let mut request = Request::get(path).header(header::HOST, "localhost");
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        self.0.ready().await?;
        let mut response = self.0.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let mut parts = Vec::new();
        while let Some(frame) = response.frame().await {
            parts.extend(frame?.into_data().ok());
        }
        ensure!(status.as_u16() < 400, "{path}: {status}");
        let bytes = parts.iter().map(Bytes::len).sum();
        Ok(Answer { bytes, tag, parts })
    }
}

impl Answer {
    /// The body in one piece.
    pub(crate) fn body(&self) -> Bytes {
        self.parts.concat().into()
    }
}

/// The address of `http://host:port`.
pub(crate) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    host.to_socket_addrs()?.next().with_context(|| format!("no address of {url}"))
}
