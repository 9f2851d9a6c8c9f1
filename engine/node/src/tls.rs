//! TLS: certificate and key from files, the handshake, and the encrypted side of a session's socket.
//!
//! Handshake and HTTP run on the tokio side; then the connection's state goes to a worker with its socket, and the worker
//! reads and writes records itself.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mio::net::TcpStream as Stream;
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a client may take for its handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// A larger file is no certificate.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What is encrypted ahead of the socket.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// Records that are read before others have their turn.
const RECORDS_MAX: usize = 16;
/// The first byte of every TLS connection (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// To clients that speak HTTP without TLS.
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n\
    {\"error\":\"tls_required\",\"message\":\"this port speaks TLS; use https:// or wss://\"}";

/// Why TLS cannot be served. Names files, and says nothing of what a key file holds.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}; give the path of a PEM file that this user may read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file without a certificate.
    #[error("{} holds no certificate; give a PEM file with the server's own first (-----BEGIN CERTIFICATE-----), then its \
             chain", .0.display())]
    NoCertificate(PathBuf),
    /// A file without a private key.
    #[error("{} holds no private key without a password; give a PEM file with -----BEGIN PRIVATE KEY----- (openssl pkey \
             -in FILE makes one)", .0.display())]
    NoKey(PathBuf),
    /// The two files cannot be used.
    #[error("the certificate in {} and the key in {} cannot be used together; give the key that the certificate was made \
             for", cert.display(), key.display())]
    Unusable {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate and its key, ready to serve; clones share them. Has no `Debug`: it holds the key.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads both from PEM files.
    ///
    /// # Errors
    /// [`TlsError`] names the file and a remedy.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(cert)?).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| TlsError::NoCertificate(cert.to_owned()))?;
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| TlsError::NoKey(key.to_owned()))?;
        let unusable = |source| TlsError::Unusable { cert: cert.to_owned(), key: key.to_owned(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(unusable)?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, secret).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The handshake; `None` if the client does not speak TLS, not ours, or not in time.
    pub(crate) async fn accept(&self, mut socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        let accepted = async {
            let mut first = [0];
            let count = socket.peek(&mut first).await?;
            if count == 0 || first != [HANDSHAKE] {
                // What it said is read first: closing over unread bytes could take the answer back.
                let _ = socket.try_read(&mut vec![0; 16 * 1024]);
                if first[0].is_ascii_uppercase() {
                    socket.write_all(REFUSAL).await?;
                }
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.0.accept(socket).await
        };
        match timeout(HANDSHAKE_WAIT, accepted).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::trace!(%error, "no TLS handshake");
                None
            }
            Err(_) => None,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = |source| TlsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

/// The TLS state of a session's socket, after the handshake.
pub(crate) struct Secure(Box<ServerConnection>);

impl Secure {
    /// Takes a connection over, with all that it has read and not written yet.
    pub(crate) fn new(mut connection: ServerConnection) -> Self {
        connection.set_buffer_limit(Some(AHEAD_BYTES_MAX));
        Self(Box::new(connection))
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn has_pending(&self) -> bool {
        self.0.wants_write()
    }

    /// Writes encrypted bytes until none is left (true) or the socket is full.
    pub(crate) fn flush(&mut self, stream: &mut Stream) -> io::Result<bool> {
        while self.0.wants_write() {
            match self.0.write_tls(stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Encrypts and writes. Takes nothing while encrypted bytes wait, so at most 64 KiB of them ever do.
    pub(crate) fn write(&mut self, stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while self.flush(stream)? && taken < bytes.len() {
            match self.0.writer().write(bytes.get(taken..).unwrap_or_default())? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => taken += count,
            }
        }
        Ok(taken)
    }

    /// Reads decrypted bytes; those that came with the handshake first.
    pub(crate) fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..RECORDS_MAX {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.0.read_tls(stream)?;
            let processed = self.0.process_new_packets();
            // Answers of the protocol, or the alert that tells the client what is wrong.
            self.flush(stream)?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Tells the client that nothing more comes.
    pub(crate) fn shut(&mut self, stream: &mut Stream) {
        self.0.send_close_notify();
        // A client that is gone already makes this fail; its socket is dropped soon.
        let _ = self.flush(stream);
    }
}
