//! The server under test: one that runs already, or a child of this process that ends with it.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    LoadError,
    process::{Usage, usage},
};

/// How long a child may take to end.
const END_WITHIN: Duration = Duration::from_secs(8);

/// Where to find the server.
#[derive(Clone, Debug)]
pub enum Place {
    /// Start `program simulate` and end it afterwards.
    Own {
        /// The program.
        program: PathBuf,
        /// More of its arguments.
        arguments: Vec<String>,
    },
    /// It runs.
    Running {
        /// Where.
        address: SocketAddr,
        /// A key that allows enough connections.
        key: String,
        /// Its process, if it is on this machine and may be looked at.
        pid: Option<u32>,
        /// Whether an address beyond loopback is meant.
        allow_remote: bool,
    },
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The key to connect with.
    pub key: String,
    pid: Option<u32>,
    child: Option<Child>,
}

#[derive(Deserialize)]
struct Started {
    url: String,
    api_key: String,
    pid: u32,
}

impl Server {
    /// Finds or starts it; `arguments` are those that the scenario needs of a server of its own.
    ///
    /// # Errors
    /// A remote address that was not allowed, or a child that does not start.
    pub fn start(place: &Place, arguments: &[String]) -> Result<Self, LoadError> {
        match place {
            Place::Running { address, allow_remote, .. } if !allow_remote && !address.ip().is_loopback() => {
                Err(LoadError::Remote(*address))
            }
            Place::Running { address, key, pid, .. } => {
                Ok(Self { address: *address, key: key.clone(), pid: *pid, child: None })
            }
            Place::Own { program, arguments: more } => {
                let mut command = Command::new(program);
                command.args(["simulate", "--listen", "127.0.0.1:0", "--json", "--control"]).args(arguments).args(more);
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                if std::env::var_os("RUST_LOG").is_none() {
                    command.env("RUST_LOG", "warn");
                }
                let mut child = command.spawn().map_err(LoadError::Child)?;
                let mut line = String::new();
                if let Some(out) = child.stdout.take() {
                    BufReader::new(out).read_line(&mut line).map_err(LoadError::Child)?;
                }
                let started: Option<Started> = serde_json::from_str(&line).ok();
                let address = started.as_ref().and_then(|started| started.url.strip_prefix("http://")?.parse().ok());
                // From here on the child ends with it, also where it did not start.
                let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
                let mut server = Self { address: nowhere, key: String::new(), pid: None, child: Some(child) };
                let (Some(Started { api_key, pid, .. }), Some(address)) = (started, address) else {
                    return Err(LoadError::Silent(line));
                };
                (server.address, server.key, server.pid) = (address, api_key, Some(pid));
                Ok(server)
            }
        }
    }

    /// Whether its market does what it is told.
    pub fn is_own(&self) -> bool {
        self.child.is_some()
    }

    /// Sets the market's trades a second; nothing happens to a server that is not our own.
    ///
    /// # Errors
    /// If the child is gone.
    pub fn set_rate(&mut self, rate: u32) -> Result<(), LoadError> {
        self.control(&format!("rate {rate}"))
    }

    /// Starts a profile of the market from its beginning.
    ///
    /// # Errors
    /// If the child is gone.
    pub fn set_profile(&mut self, name: &str) -> Result<(), LoadError> {
        self.control(&format!("profile {name}"))
    }

    fn control(&mut self, line: &str) -> Result<(), LoadError> {
        let Some(input) = self.child.as_mut().and_then(|child| child.stdin.as_mut()) else { return Ok(()) };
        writeln!(input, "{line}").and_then(|()| input.flush()).map_err(LoadError::Child)
    }

    /// What it uses now, if it can be looked at.
    pub fn usage(&self) -> Option<Usage> {
        self.pid.and_then(usage)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // The end of its input ends it.
        drop(child.stdin.take());
        let end = Instant::now() + END_WITHIN;
        while let Ok(None) = child.try_wait() {
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
