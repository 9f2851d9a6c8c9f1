//! A provider on loopback that does what its script says: for tests of whoever calls models.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// From zero.
    pub number: usize,
    /// Of the URL.
    pub path: String,
    /// All lines before the body.
    pub head: String,
    /// The body, JSON.
    pub body: Value,
}

/// A piece of a stream.
#[derive(Clone)]
pub enum Step {
    /// These bytes.
    Send(String),
    /// Nothing more until told.
    Wait(Arc<Notify>),
    /// Nothing more, and the connection stays.
    Stall,
    /// The connection is gone, within the body.
    Cut,
}

/// What the provider does with a request.
#[derive(Clone)]
pub enum Reply {
    /// A status, lines of the head, a body.
    Status(u16, &'static str, Value),
    /// 200 and a body.
    Whole(Value),
    /// 200 and server-sent events.
    Stream(Vec<Step>),
    /// The connection is gone before an answer.
    Reset,
    /// No answer, and the connection stays.
    Silent,
}

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// The provider. Dropped, it is gone with all its connections.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    hung_up: watch::Receiver<usize>,
    sent: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

struct Stage {
    script: Script,
    seen: Arc<Mutex<Vec<Seen>>>,
    hung_up: watch::Sender<usize>,
    sent: Arc<AtomicUsize>,
}

impl Upstream {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn new(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (send, hung_up) = watch::channel(0);
        let sent = Arc::<AtomicUsize>::default();
        let stage = Stage { script: Arc::new(script), seen: Arc::clone(&seen), hung_up: send, sent: Arc::clone(&sent) };
        let stage = Arc::new(stage);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let stage = Arc::clone(&stage);
                sessions.spawn(async move { serve(socket, &stage).await });
            }
        });
        Self { address, seen, hung_up, sent, _tasks: tasks }
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// All requests that came, in order.
    ///
    /// # Panics
    /// If a script did.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many steps of streams its clients or the network have taken.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until the client has hung up on so many answers that were not over.
    ///
    /// # Panics
    /// If it is gone.
    pub async fn hung_up(&self, times: usize) {
        self.hung_up.clone().wait_for(|count| *count >= times).await.unwrap();
    }
}

/// Serves one connection, request after request; `None` once it is of no more use.
async fn serve(socket: TcpStream, stage: &Stage) -> Option<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let seen = read(&mut socket, stage).await?;
        match (stage.script)(&seen) {
            Reply::Reset => return None,
            Reply::Silent => return hang(&mut socket, stage).await,
            Reply::Status(status, headers, body) => whole(&mut socket, status, headers, &body).await?,
            Reply::Whole(body) => whole(&mut socket, 200, "", &body).await?,
            Reply::Stream(steps) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                socket.write_all(head.as_bytes()).await.ok()?;
                for step in steps {
                    match step {
                        Step::Send(text) => {
                            let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                            if socket.write_all(chunk.as_bytes()).await.is_err() {
                                stage.hung_up.send_modify(|count| *count += 1);
                                return None;
                            }
                            stage.sent.fetch_add(1, Ordering::Relaxed);
                        }
                        Step::Wait(told) => told.notified().await,
                        Step::Stall => return hang(&mut socket, stage).await,
                        Step::Cut => return None,
                    }
                }
                socket.write_all(b"0\r\n\r\n").await.ok()?;
            }
        }
    }
}

/// Waits until the client hangs up.
async fn hang(socket: &mut BufReader<TcpStream>, stage: &Stage) -> Option<()> {
    let mut byte = [0];
    while socket.read(&mut byte).await.is_ok_and(|count| count > 0) {}
    stage.hung_up.send_modify(|count| *count += 1);
    None
}

async fn whole(socket: &mut BufReader<TcpStream>, status: u16, headers: &str, body: &Value) -> Option<()> {
    let body = body.to_string();
    let kind = "content-type: application/json";
    let head = format!("HTTP/1.1 {status} Status\r\n{kind}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).await.ok()
}

async fn read(socket: &mut BufReader<TcpStream>, stage: &Stage) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let mut all = stage.seen.lock().unwrap();
    let seen = Seen { number: all.len(), path, head, body: serde_json::from_slice(&body).ok()? };
    all.push(seen.clone());
    Some(seen)
}

/// A chunk of OpenAI's stream.
#[must_use]
pub fn chunk(text: &str) -> Step {
    let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
    data(&json!({"id": "up-1", "object": "chat.completion.chunk", "model": "up", "choices": [choice], "usage": null}))
}

/// The chunk that says why the model stopped.
#[must_use]
pub fn finish(reason: &str) -> Step {
    data(&json!({"id": "up-1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": null}))
}

/// The chunk that counts tokens.
#[must_use]
pub fn usage(input: u64, output: u64) -> Step {
    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    data(&json!({"id": "up-1", "choices": [], "usage": usage}))
}

/// The end of a stream.
#[must_use]
pub fn done() -> Step {
    Step::Send("data: [DONE]\n\n".into())
}

/// A server-sent event.
#[must_use]
pub fn data(value: &Value) -> Step {
    Step::Send(format!("data: {value}\n\n"))
}

/// A stream of these pieces of text that ends as it should.
#[must_use]
pub fn answer(pieces: &[&str], input: u64, output: u64) -> Reply {
    let texts = pieces.iter().map(|piece| chunk(piece));
    Reply::Stream(texts.chain([finish("stop"), usage(input, output), done()]).collect())
}

/// OpenAI's body of an error.
#[must_use]
pub fn error(message: &str, code: &str) -> Value {
    json!({"error": {"message": message, "type": "t", "param": null, "code": code}})
}
