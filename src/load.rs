//! `kandle loadtest`: runs the harness and prints its table.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::cli::LoadtestArgs;

/// Runs the plan and prints the report.
///
/// # Errors
/// If there is no key, nobody could connect, or an event was missing.
pub async fn run(args: LoadtestArgs) -> anyhow::Result<()> {
    let plan = loadtest::Plan {
        address: args.address,
        key: args.key.context("no key: give --key, or KANDLE_API_KEY in the environment")?,
        connections: args.connections,
        channels: args.channels,
        listen: Duration::from_secs(args.seconds),
        allow_remote: args.allow_remote,
    };
    let bar = indicatif::ProgressBar::new_spinner();
    bar.set_message(format!("{} connections for {} s", args.connections, args.seconds));
    bar.enable_steady_tick(Duration::from_millis(200));
    let report = loadtest::run(plan).await;
    bar.finish_and_clear();
    let report = report?;
    println!("{report}");
    if report.holes > 0 {
        bail!("{} events are missing without a word of the server", report.holes);
    }
    Ok(())
}
