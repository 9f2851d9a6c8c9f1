//! The servers that are compared, each a process of its own.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{dialect::Dialect, host::SERVER_CORE};

const START_MAX: Duration = Duration::from_secs(20);

/// Where a server's program comes from.
#[derive(Clone, Copy, Debug)]
enum Program {
    /// This binary, `serve` with these arguments.
    Own(&'static [&'static str]),
    /// A program below the folder of peers, with these arguments; `{port}`, `{sources}` and `{peers}` are replaced.
    Peer(&'static str, &'static [&'static str]),
}

/// A server that can be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) dialect: Dialect,
    program: Program,
}

/// The measure of all others.
pub(crate) const RAW: &str = "raw";
/// Ours.
pub(crate) const KANDLE: &str = "kandle";

const fn own(name: &'static str, about: &'static str, dialect: Dialect, arguments: &'static [&'static str]) -> Server {
    Server { name, about, dialect, program: Program::Own(arguments) }
}

const fn peer(
    name: &'static str,
    about: &'static str,
    dialect: Dialect,
    program: &'static str,
    arguments: &'static [&'static str],
) -> Server {
    Server { name, about, dialect, program: Program::Peer(program, arguments) }
}

/// All servers, in the order of the tables.
pub(crate) const SERVERS: &[Server] = &[
    own(RAW, "one epoll thread, pre-encoded frames, one write per connection and wake-up", Dialect::Plain, &["raw"]),
    own(KANDLE, "the whole engine: trades in, ring, candles, encoding, fan-out", Dialect::Kandle, &["kandle"]),
    own("raw-each", "raw with one write per delivery", Dialect::Plain, &["raw", "--flush", "each"]),
    own("broadcast", "tokio, task + `broadcast::channel`, drained before each write", Dialect::Plain, &["broadcast"]),
    own("tungstenite", "tokio-tungstenite, task + `send` per message", Dialect::Plain, &["tungstenite"]),
    peer(
        "uws",
        "uWebSockets (socketify), publish deferred",
        Dialect::Plain,
        "venv/bin/python",
        &["{sources}/uws.py", "{port}", "deferred"],
    ),
    peer(
        "uws-inline",
        "uWebSockets (socketify), publish in the handler",
        Dialect::Plain,
        "venv/bin/python",
        &["{sources}/uws.py", "{port}", "inline"],
    ),
    peer("centrifuge", "Centrifuge (Go), WriteDelay 0", Dialect::Centrifuge, "centrifuge", &["{port}", "0"]),
    peer(
        "centrifuge-1ms",
        "Centrifuge (Go), WriteDelay 1 ms, frames without limit",
        Dialect::Centrifuge,
        "centrifuge",
        &["{port}", "1"],
    ),
    peer(
        "nats",
        "NATS server, WebSocket listener",
        Dialect::Nats,
        "venv/bin/nats-server",
        &["-c", "{sources}/nats.conf"],
    ),
    peer(
        "ws",
        "Node `ws`, frame encoded once",
        Dialect::Plain,
        "ws/node",
        &["{sources}/ws.mjs", "{port}", "{peers}/ws"],
    ),
];

impl Server {
    /// Those of these names; all that can be started if none are given.
    pub(crate) fn chosen(names: &[String], peers: &Peers) -> anyhow::Result<Vec<Self>> {
        if let Some(name) = names.iter().find(|name| SERVERS.iter().all(|server| server.name != **name)) {
            bail!("no server {name}: {}", SERVERS.iter().map(|server| server.name).collect::<Vec<_>>().join(", "));
        }
        let wanted =
            |server: &&Self| server.name != RAW && (names.is_empty() || names.iter().any(|name| server.name == name));
        let mut chosen = Vec::new();
        for server in SERVERS.iter().filter(wanted) {
            match server.program {
                Program::Peer(program, _) if !peers.folder.join(program).exists() => {
                    eprintln!("{} is left out: it is not installed", server.name);
                }
                _ => chosen.push(*server),
            }
        }
        Ok(chosen)
    }

    pub(crate) fn raw() -> Self {
        SERVERS[0]
    }
}

/// Where the programs of peers are, and their sources.
pub(crate) struct Peers {
    pub(crate) folder: PathBuf,
    pub(crate) sources: PathBuf,
    /// Passed to our server: how it does its input and output.
    pub(crate) backend: Option<String>,
}

/// A server that runs; it ends when this is dropped, or with this process.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where events enter, if it is not the same port.
    pub(crate) publish: Option<SocketAddr>,
}

impl Running {
    /// Starts a server on the server's core and waits until it accepts.
    pub(crate) fn start(server: &Server, peers: &Peers) -> anyhow::Result<Self> {
        let (address, publish) = (free_port()?, free_port()?);
        let port = address.port().to_string();
        let (sources, folder) = (peers.sources.to_string_lossy(), peers.folder.to_string_lossy());
        // The kernel ends the server when this process ends, however that comes.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "-c", &SERVER_CORE.to_string()]);
        match server.program {
            Program::Own(arguments) => {
                command.arg(std::env::current_exe()?).arg("serve").args(arguments).args(["--port", &port]);
                if server.dialect == Dialect::Kandle {
                    command.args(["--publish-port", &publish.port().to_string()]);
                    command.envs(peers.backend.iter().map(|backend| ("KANDLE_IO", backend)));
                }
            }
            Program::Peer(program, arguments) => {
                let fill = |argument: &&str| {
                    argument.replace("{port}", &port).replace("{sources}", &sources).replace("{peers}", &folder)
                };
                command.arg(peers.folder.join(program)).args(arguments.iter().map(fill)).env("PORT", &port);
            }
        }
        let log = log_file(&peers.folder, server.name)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("util-linux (setpriv, taskset) is needed")?;
        let publish = (server.dialect == Dialect::Kandle).then_some(publish);
        let mut running = Self { child, address, publish };
        for address in [Some(address), publish].into_iter().flatten() {
            running.await_port(address).with_context(|| format!("{} did not start", server.name))?;
        }
        Ok(running)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    fn await_port(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            anyhow::ensure!(start.elapsed() < START_MAX, "no answer on {address}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// What a server says is kept beside the peers, newest run only.
fn log_file(folder: &Path, name: &str) -> anyhow::Result<File> {
    let folder = folder.join("log");
    fs::create_dir_all(&folder)?;
    Ok(File::create(folder.join(format!("{name}.log")))?)
}
