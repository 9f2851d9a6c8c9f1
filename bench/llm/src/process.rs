//! A process that is measured: started on the gateway's core, and gone when this program is.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use loadtest::process::{Usage, usage};

/// Where gateways run; this program and its provider run on the other core.
pub(crate) const GATEWAY_CORE: usize = 0;
/// See [`GATEWAY_CORE`].
pub(crate) const CLIENT_CORE: usize = 1;
/// The cores of what has no core of its own.
pub(crate) const ALL_CORES: &str = "0,1";
/// `LiteLLM` takes a quarter of a minute to start on one core.
const START_MAX: Duration = Duration::from_secs(90);

/// See the module.
pub(crate) struct Process {
    child: Child,
    log: String,
}

impl Process {
    /// Starts `program`, on `core` or on both.
    ///
    /// # Errors
    /// It is not there, or `setpriv` and `taskset` are not.
    pub(crate) fn start(program: &Command, core: Option<usize>, log: &Path) -> anyhow::Result<Self> {
        // The kernel ends it when this process ends, however that comes.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        // It would inherit the one core of this program.
        command.args(["taskset", "-c", &core.map_or_else(|| ALL_CORES.to_owned(), |core| core.to_string())]);
        command.arg(program.get_program()).args(program.get_args());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("util-linux (setpriv, taskset) is needed")?;
        Ok(Self { child, log: log.display().to_string() })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it uses.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        usage(self.id()).context("a process that was started is gone")
    }

    /// Waits until `is_ready` says so.
    pub(crate) fn await_ready(&mut self, mut is_ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}: see {}", self.log);
            }
            ensure!(start.elapsed() < START_MAX, "it does not start: see {}", self.log);
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn await_port(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.await_ready(|| TcpStream::connect(address).is_ok())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that is free at the moment.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Puts this program on `core`.
pub(crate) fn take_core(id: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id });
}
