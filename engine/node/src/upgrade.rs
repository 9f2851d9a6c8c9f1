//! `GET /v1/ws`: who may connect, the handshake, and the way of the socket to a worker.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use engine::frame::Form;
use fastwebsockets::{Frame, OpCode, upgrade::UpgradeFut};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header, http::HeaderValue};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit, time::timeout};
use tokio_rustls::server::TlsStream;

use crate::{
    auth::{ConnectionCounts, ConnectionPermit, TOKEN_BYTES_MAX},
    deflate,
    link::WorkerLink,
    session::NewSession,
    tls::{Secure, Tls},
    wire::Wire,
    worker::Context,
};

/// How long a refused client may take to answer the close frame.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);

/// Where upgraded sockets go.
pub(crate) struct Gate {
    pub(crate) context: Arc<Context>,
    pub(crate) tls: Option<Tls>,
    pub(crate) counts: ConnectionCounts,
    pub(crate) workers: Vec<WorkerLink>,
}

/// A handshake that was answered; the socket follows once the answer is sent.
pub(crate) struct Pending {
    upgrade: UpgradeFut,
    admission: Result<Admission, Refusal>,
}

struct Admission {
    permit: ConnectionPermit,
    connections: u32,
    form: Form,
    wire: Wire,
    /// What the answer says of extensions.
    extension: Option<&'static str>,
}

#[derive(Clone, Copy)]
struct Refusal {
    code: u16,
    reason: &'static str,
}

impl Gate {
    /// Answers a request for `/v1/ws`.
    pub(crate) fn on_request(
        &self,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
    ) -> (Response<Full<Bytes>>, Option<Pending>) {
        if !fastwebsockets::upgrade::is_upgrade_request(request) {
            return (not_an_upgrade("connect with a WebSocket client"), None);
        }
        let admission = self.admit(request, peer);
        match fastwebsockets::upgrade::upgrade(request) {
            Ok((answer, upgrade)) => {
                let mut answer = answer.map(|_| Full::default());
                if let Some(extension) = admission.as_ref().ok().and_then(|admission| admission.extension) {
                    let value = HeaderValue::from_static(extension);
                    answer.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, value);
                }
                (answer, Some(Pending { upgrade, admission }))
            }
            Err(_) => (not_an_upgrade("Sec-WebSocket-Key and Sec-WebSocket-Version: 13 are needed"), None),
        }
    }

    fn admit(&self, request: &Request<Incoming>, peer: SocketAddr) -> Result<Admission, Refusal> {
        let query = request.uri().query().unwrap_or_default();
        let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let token = parameter(query, "api_key").or(bearer).filter(|token| !token.is_empty());
        let token = token.ok_or(Refusal { code: 4401, reason: "give a key: ?api_key= or Authorization: Bearer" })?;
        let grant = Some(token).filter(|token| token.len() <= TOKEN_BYTES_MAX);
        let grant = grant.and_then(|token| self.context.authenticator.authenticate(token, peer.ip()));
        let grant = grant
            .ok_or(Refusal { code: 4401, reason: "the key is unknown, revoked, expired or not for this address" })?;
        let permit = self.counts.try_acquire(grant);
        let permit =
            permit.ok_or(Refusal { code: 4429, reason: "too many connections on this key; close one first" })?;
        let form = if parameter(query, "numbers") == Some("string") { Form::Text } else { Form::Number };
        let offers = request.headers().get_all(header::SEC_WEBSOCKET_EXTENSIONS).into_iter();
        let offers = offers.filter(|_| self.context.config.deflate).filter_map(|value| value.to_str().ok());
        let extension = deflate::negotiate(offers);
        let wire = Wire { is_batch: parameter(query, "batch") == Some("1"), is_deflate: extension.is_some() };
        Ok(Admission { permit, connections: grant.connections, form, wire, extension })
    }

    /// Takes the socket after the handshake: to a worker, or to its close frame.
    pub(crate) async fn finish(&self, pending: Pending, slot: OwnedSemaphorePermit) {
        let Ok(mut socket) = pending.upgrade.await else { return };
        let admission = match pending.admission {
            Ok(admission) => admission,
            Err(refusal) => {
                self.context.metrics.on_refused(refusal.code);
                let close = Frame::close(refusal.code, refusal.reason.as_bytes());
                if socket.write_frame(close).await.is_ok() {
                    // Until the client has answered: a browser that is cut off before would not show the code.
                    let answered = async {
                        while let Ok(frame) = socket.read_frame().await
                            && frame.opcode != OpCode::Close
                        {}
                    };
                    let _ = timeout(REFUSAL_WAIT, answered).await;
                }
                return;
            }
        };
        let upgraded = socket.into_inner().into_inner();
        let (socket, secure, early) = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (parts.io.into_inner(), None, parts.read_buf),
            Err(upgraded) => {
                let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() else { return };
                let (socket, connection) = parts.io.into_inner().into_inner();
                (socket, Some(Secure::new(connection)), parts.read_buf)
            }
        };
        self.hand_over(socket, secure, early, admission, slot);
    }

    fn hand_over(
        &self,
        socket: TcpStream,
        secure: Option<Secure>,
        early: Bytes,
        admission: Admission,
        slot: OwnedSemaphorePermit,
    ) {
        let Ok(socket) = socket.into_std() else { return };
        let options = SockRef::from(&socket);
        let bounded = options.set_send_buffer_size(self.context.config.send_buffer_bytes);
        if let Err(error) = options.set_tcp_nodelay(true).and(bounded) {
            tracing::debug!(%error, "cannot set socket options");
        }
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.sessions()) else { return };
        let Admission { permit, connections, form, wire, .. } = admission;
        worker.on_opened();
        let new = Box::new(NewSession { socket, secure, early, form, wire, connections, permit, slot });
        if !worker.connect(new) {
            worker.on_closed();
            self.context.metrics.on_refused(1013);
        }
    }
}

fn not_an_upgrade(message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"error": "upgrade_required", "message": message}).to_string();
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer
}

/// The value of a query parameter. Keys need no percent-encoding, so there is no decoding.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}
