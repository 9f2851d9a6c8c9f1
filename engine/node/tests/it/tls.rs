//! Clients that connect by TLS, and what else comes to such a port.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use node::{NodeConfig, Tls, TlsError};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{self, ServerName},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    raw::{Raw, check_stalled, small_socket},
    stage::Stage,
    wire::small_buffers,
};

/// A certificate of its own and its key, in files that are gone at the end.
struct Files {
    folder: PathBuf,
    cert: PathBuf,
    key: PathBuf,
    der: pki_types::CertificateDer<'static>,
}

impl Files {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kandle-tls-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Self { folder, cert, key, der: made.cert.der().clone() }
    }

    fn load(&self) -> Tls {
        Tls::load(&self.cert, &self.key).unwrap()
    }

    async fn connect(&self, socket: TcpStream) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn client(stage: &Stage, files: &Files, query: &str, offer: Option<&str>) -> Raw<TlsStream<TcpStream>> {
    let stream = files.connect(small_socket(stage).await).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    Raw::handshake(stream, query, offer).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_client_follows_resumes_and_closes() {
    let files = Files::new();
    let config = NodeConfig { turn_inputs_max: 1, ..small_buffers() };
    let stage = Stage::start_tls(config, 2, Some(files.load()));
    let mut first = client(&stage, &files, "", None).await;
    first.hear("welcome").await;
    first.say(json!({"op": "subscribe", "channels": ["trades.C0"]})).await;
    let snapshot = first.hear("snapshot").await;
    for id in 1..=900 {
        stage.trade(id).await;
    }
    let mut last = first.hear("event").await;
    while last["data"][0]["id"] != 900 {
        last = first.hear("event").await;
    }
    // Another one resumes from the start: far more than its socket holds.
    let mut second = client(&stage, &files, "", Some("permessage-deflate")).await;
    assert!(second.extension.is_some());
    let since = json!({"trades.C0": {"epoch": snapshot["epoch"], "seq": snapshot["seq"]}});
    second.say(json!({"op": "subscribe", "channels": ["trades.C0"], "since": since})).await;
    assert_eq!(second.hear("snapshot").await["recovered"], true);
    for id in 1..=900 {
        assert_eq!(second.hear("event").await["data"][0]["id"], id);
    }
    second.send(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(second.close_code().await, 1000);
    // The stream ends with a word: not cut off.
    assert_eq!(timeout(Duration::from_secs(5), second.io.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
    stage.trade(901).await;
    assert_eq!(first.hear("event").await["data"][0]["id"], 901);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_the_handshake_is_not_lost() {
    let files = Files::new();
    let stage = Stage::start_tls(small_buffers(), 2, Some(files.load()));
    let mut stream = files.connect(small_socket(&stage).await).await;
    let op = br#"{"op":"ping","id":"early"}"#;
    let mut bytes = b"GET /v1/ws?api_key=kai-test HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    for _ in 0..2000 {
        bytes.extend([0x81, 0x80 | op.len() as u8, 0, 0, 0, 0]);
        bytes.extend(op);
    }
    let (mut reading, mut writing) = tokio::io::split(&mut stream);
    let write = async { writing.write_all(&bytes).await.unwrap() };
    let read = async {
        let (mut seen, mut buffer) = (Vec::new(), vec![0; 4096]);
        while seen.windows(5).filter(|part| part == b"early").count() < 2000 {
            let count = timeout(Duration::from_secs(10), reading.read(&mut buffer)).await.expect("answers").unwrap();
            assert!(count > 0);
            seen.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::join!(write, read);
    // Other paths are served as well.
    let mut stream = files.connect(small_socket(&stage).await).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_clients_that_stop_reading_go_on_without_damage() {
    let files = Files::new();
    for (query, offer) in [("", None), ("&batch=1", Some("permessage-deflate"))] {
        let stage = Stage::start_tls(small_buffers(), 2, Some(files.load()));
        check_stalled(&stage, &mut client(&stage, &files, query, offer).await).await;
        stage.end().await;
    }
}

/// What the server says before it closes.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        match timeout(Duration::from_secs(10), socket.read(&mut buffer)).await.expect("it closes") {
            Ok(0) => return answer,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return answer,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_speak_tls_is_sent_away_and_others_are_served() {
    let files = Files::new();
    let stage = Stage::start_tls(small_buffers(), 2, Some(files.load()));
    let open = async || TcpStream::connect(stage.node.local_addr()).await.unwrap();
    let start = Instant::now();
    // The beginning of a ClientHello, and nothing at all: both wait for the deadline.
    let (mut half, mut silent) = (open().await, open().await);
    half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.unwrap();

    let mut plain = open().await;
    plain.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(rest(&mut plain).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("tls_required"), "{answer}");
    for noise in [&[0; 300][..], &[22, 9, 9, 255, 255, 7], b"\x16\x03\x01\x00\x05hello", &[0x80, 0x2e, 1, 0, 2]] {
        let mut socket = open().await;
        socket.write_all(noise).await.unwrap();
        if noise[0] == 22 && noise.len() < 10 {
            // Too short to be judged before the client is done.
            socket.shutdown().await.unwrap();
        }
        assert!(rest(&mut socket).await.len() < 64);
    }
    // A record that nobody encrypted, after the handshake.
    let mut broken = client(&stage, &files, "", None).await;
    broken.hear("welcome").await;
    broken.io.get_mut().0.write_all(b"\x17\x03\x03\x00\x20this was never encrypted by them").await.unwrap();
    let ended = timeout(Duration::from_secs(5), broken.io.read(&mut [0; 64])).await.expect("it closes");
    assert!(ended.is_err() || ended.is_ok_and(|count| count == 0));

    let mut good = client(&stage, &files, "", None).await;
    good.hear("welcome").await;
    assert_eq!((rest(&mut half).await.len(), rest(&mut silent).await.len()), (0, 0));
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    good.say(json!({"op": "ping", "id": 1})).await;
    good.hear("pong").await;
    stage.end().await;
}

#[test]
fn files_that_are_no_certificate_and_key_are_named() {
    let (files, others) = (Files::new(), Files::new());
    let check = |cert: &Path, key: &Path, named: &Path, part: &str| {
        let error = Tls::load(cert, key).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(named.to_str().unwrap()) && text.contains(part), "{text}");
        assert!(!format!("{text} {error:?}").contains("PRIVATE KEY-----\n"), "{error:?}");
        error
    };
    let missing = files.folder.join("missing.pem");
    assert!(matches!(check(&missing, &files.key, &missing, "cannot read"), TlsError::Read { .. }));
    assert!(matches!(check(&files.cert, &missing, &missing, "cannot read"), TlsError::Read { .. }));
    assert!(matches!(check(&files.key, &files.key, &files.key, "no certificate"), TlsError::NoCertificate(_)));
    assert!(matches!(check(&files.cert, &files.cert, &files.cert, "no private key"), TlsError::NoKey(_)));
    let unusable = check(&files.cert, &others.key, &others.key, "cannot be used together");
    assert!(matches!(unusable, TlsError::Unusable { .. }));
    let empty = files.folder.join("empty.pem");
    fs::write(&empty, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n").unwrap();
    check(&empty, &files.key, &empty, "");
}
