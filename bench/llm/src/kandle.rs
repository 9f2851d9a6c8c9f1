//! `kandle serve` as it is in use: accounts on SQLite with real commits, a key, money, a hold, a settlement and a row for each
//! call; and whether its books are right afterwards.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    ask::{Ask, TOKENS_IN},
    caller::Endpoint,
    process::{GATEWAY_CORE, Process, free_port},
};

/// Micros for a call, for a token that is read, and for one that is written.
const FEE: u64 = 10;
const PER_TOKEN_IN: u64 = 1;
const PER_TOKEN_OUT: u64 = 2;

const CREDIT_KAI: u64 = 1_000_000;
const USER: &str = "bench@example.com";
const MODEL: &str = "fast";
/// For subscribers to the market.
pub(crate) const STREAM_KEY: &str = "kai-bench-subscribers-of-the-market";
/// The symbols of the market.
pub(crate) const SYMBOLS: [&str; 4] = ["A", "B", "C", "D"];

/// A running server with an account.
pub(crate) struct Kandle {
    process: Process,
    program: PathBuf,
    config: PathBuf,
    pub(crate) address: SocketAddr,
    key: String,
    _folder: TempDir,
}

/// Calls that have been made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) wholes: u64,
    pub(crate) streams: u64,
}

impl Kandle {
    /// Starts it with `provider` as its only provider and, if there is one, `market` as its only venue.
    ///
    /// With a market it has both cores, as it would; without, it is on the core of the gateways.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(
        program: &Path,
        data: &Path,
        provider: SocketAddr,
        market: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(data)?;
        // Below the build's folder: /tmp may be memory, where a commit costs nothing.
        let folder = tempfile::Builder::new().prefix("kandle-").tempdir_in(data)?;
        let (address, config) = (free_port()?, folder.path().join("kandle.toml"));
        fs::write(folder.path().join("provider.key"), "sk-of-the-provider\n")?;
        fs::write(&config, settings(folder.path(), address, provider, market))?;
        let beside = |arguments: &[&str]| beside(program, &config, arguments);
        let credit = CREDIT_KAI.to_string();
        // Its tier has no limits: what is measured is not how well it refuses.
        beside(&["accounts", "create", USER, "--tier", "enterprise", "--credit", &credit])?;
        let made = beside(&["keys", "create", "--user", USER, "--name", "bench", "--scope", "write"])?;
        let key = made["api_key"].as_str().context("no key")?.to_owned();
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&config).env("RUST_LOG", "warn");
        let core = market.is_none().then_some(GATEWAY_CORE);
        let process = Process::start(&command, core, &data.join("kandle.log"))?;
        let program = program.to_owned();
        let mut kandle = Self { process, program, config, address, key, _folder: folder };
        let (address, key) = (kandle.address, kandle.key.clone());
        kandle.process.await_ready(|| get(address, &key, "/v1/models").is_ok()).context("kandle serve")?;
        Ok(kandle)
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let (address, key) = (self.address, self.key.clone());
        Endpoint { address, path: "/v1/chat/completions".to_owned(), key, model: MODEL.to_owned() }
    }

    /// Whether there is a row for each of `calls`, each is paid, and the journal is whole.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn check_books(&self, calls: Calls) -> anyhow::Result<()> {
        let sums = get(self.address, &self.key, "/v1/billing/usage?group_by=key")?;
        let count = |name: &str| sums.pointer(&format!("/sums/0/{name}")).and_then(Value::as_u64).unwrap_or(0);
        let (made, cost) = (calls.wholes + calls.streams, calls.cost());
        ensure!(count("attempts") == made, "{} rows of usage for {made} calls", count("attempts"));
        ensure!(count("cost_micros") == cost, "{} micros charged for calls of {cost}", count("cost_micros"));
        let balance = get(self.address, &self.key, "/v1/billing/balance")?;
        let left = CREDIT_KAI * 1_000_000 - cost;
        ensure!(balance["balance_micros"] == left, "a balance of {} and not {left}", balance["balance_micros"]);
        beside(&self.program, &self.config, &["ledger", "verify"]).context("the journal")?;
        Ok(())
    }
}

impl Calls {
    pub(crate) fn add(&mut self, ask: Ask, count: u64) {
        match ask {
            Ask::Whole => self.wholes += count,
            Ask::Stream => self.streams += count,
            // Nobody waits for their end.
            Ask::Idle => {}
        }
    }

    /// In micros.
    fn cost(self) -> u64 {
        let each = |ask: Ask| FEE + TOKENS_IN * PER_TOKEN_IN + ask.tokens_out() * PER_TOKEN_OUT;
        self.wholes * each(Ask::Whole) + self.streams * each(Ask::Stream)
    }
}

fn settings(folder: &Path, address: SocketAddr, provider: SocketAddr, market: Option<SocketAddr>) -> String {
    let shown = folder.display();
    let off: String = ["binance", "coinbase", "kraken", "bybit", "okx"]
        .iter()
        .map(|name| format!("[venues.{name}]\nenabled = false\n"))
        .collect();
    let venue = match market {
        Some(market) => {
            format!("[venues.hyperliquid]\nws_url = \"ws://{market}\"\nrest_url = \"http://127.0.0.1:9\"\n")
        }
        None => "[venues.hyperliquid]\nenabled = false\n".to_owned(),
    };
    let symbols: String = SYMBOLS.iter().map(|name| format!("{name} = \"hyperliquid:{name}\"\n")).collect();
    let million = |per_token: u64| per_token * 1_000_000;
    let (input, output) = (million(PER_TOKEN_IN), million(PER_TOKEN_OUT));
    format!(
        r#"listen = "{address}"
[store]
url = "redb:{shown}/history.redb"
[records]
url = "sqlite:{shown}/records.db"
[accounts]
secret_file = "{shown}/secret"
[[keys]]
key = "{STREAM_KEY}"
connections = 60000
[llm]
fee_micros = {FEE}
[llm.providers.up]
base_url = "http://{provider}/v1"
key_file = "{shown}/provider.key"
[[llm.models]]
id = "{MODEL}"
provider = "up"
upstream = "up-1"
price = {{ input = {input}, cache_read = {input}, cache_write = {input}, output = {output} }}
context_tokens = 100000
output_tokens_max = 4000
grade = 2
capabilities = []
{off}{venue}[symbols]
{symbols}"#
    )
}

/// Runs a command of the program on the same accounts, and gives what it prints.
fn beside(program: &Path, config: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(program).args(arguments).args(["--json", "--config"]).arg(config).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kandle {}: {said}", arguments.join(" "));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The answer to a GET.
fn get(address: SocketAddr, key: &str, path: &str) -> anyhow::Result<Value> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    // 1.0: the answer comes in one piece.
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\r\n");
    socket.write_all(head.as_bytes())?;
    let mut answer = String::new();
    let begun = Instant::now();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    ensure!(begun.elapsed() < Duration::from_secs(10), "{path} takes too long");
    Ok(serde_json::from_str(body)?)
}
