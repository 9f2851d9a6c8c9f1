//! Wiring: settings, the command line and what its commands do. The parts that are wired live in the other crates.
//!
//! `cli` (what can be asked) → `config` (settings) → `system` (a running node) → `serve`, `demo`, `replay`, `import`,
//! `backfill`, `tail`, `simulate`, `load`: one module per command. `history` keeps what closes, `pacer` moves recorded trades to the present,
//! `view` answers the HTTP sidecar, `runtime` says where tasks run.

use std::io::IsTerminal;

use cli::Command;
use tracing_subscriber::EnvFilter;

pub mod accounts;
pub mod backfill;
pub mod chance;
pub mod chat;
pub mod cli;
pub mod config;
pub mod demo;
pub mod history;
pub mod import;
pub mod keys;
pub mod load;
pub mod pacer;
pub mod replay;
mod runtime;
pub mod serve;
pub mod simulate;
pub mod system;
pub mod tail;
pub mod view;
pub mod welcome;

/// Runs one command to its end.
///
/// # Errors
/// Whatever the command fails with; the chain of causes says what to do.
pub fn run(command: Command) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal).init();
    if let Command::Replay(args) = &command
        && let Some(out) = &args.out
    {
        return replay::run(args, out);
    }
    let runtime = runtime::of_command(matches!(command, Command::Serve(_)))?;
    let ended = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(&args).await,
            Command::Demo(args) => demo::run(&args).await,
            Command::Replay(args) => replay::live::run(args).await,
            Command::Backfill(args) => backfill::run(args).await,
            Command::Import(args) => import::run(*args).await,
            Command::Accounts(args) => accounts::users::run(*args).await,
            Command::Keys(args) => accounts::keys::run(*args).await,
            Command::Ledger(args) => accounts::books::run(*args).await,
            Command::Tail(args) => tail::run(&args).await,
            Command::Simulate(args) => simulate::run(&args).await,
            // It has an event loop of its own.
            Command::Loadtest(args) => load::run(&args),
        }
    });
    // A thread that still reads a file or a name server must not hold the exit up.
    runtime.shutdown_background();
    ended
}
