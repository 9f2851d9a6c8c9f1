//! `kandle loadtest`: runs a scenario, shows how far it is, prints its table, writes its report and picture.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use loadtest::{Load, Pace, Scenario, plot, server::Place};

use crate::cli::{LoadArgs, LoadtestArgs, Market, ScenarioCommand};

/// Where a running server is looked for.
const ADDRESS: &str = "127.0.0.1:8080";

/// What a scenario does if nothing is said: sessions, channels, symbols, trades a second, seconds.
struct Usual(usize, usize, u32, u32, u64);

/// Runs the scenario and prints the report.
///
/// # Errors
/// If it could not be run, or something did not hold.
pub fn run(args: &LoadtestArgs) -> anyhow::Result<()> {
    let (scenario, load, args) = plan(&args.scenario)?;
    let bar = ProgressBar::new(1_000);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3}% {msg} ({elapsed})") {
        bar.set_style(style);
    }
    let mut last = String::new();
    let report = loadtest::run(&scenario, &load, &mut |what, share| {
        if last != what {
            what.clone_into(&mut last);
            bar.set_message(last.clone());
        }
        bar.set_position((share * 1_000.0) as u64);
    });
    bar.finish_and_clear();
    let report = report?;
    let json = serde_json::to_string_pretty(&report).context("the report cannot be written as JSON")?;
    match &args.json {
        Some(path) if path == &PathBuf::from("-") => println!("{json}"),
        other => {
            print!("{report}");
            if let Some(path) = other {
                fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    if let Some(path) = &args.plot {
        fs::write(path, plot::svg(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match report.failure() {
        Some(failure) => bail!("{failure}"),
        None => Ok(()),
    }
}

fn plan(command: &ScenarioCommand) -> anyhow::Result<(Scenario, Load, &LoadArgs)> {
    Ok(match command {
        ScenarioCommand::Fanout { saturate, ramp, p99_ms, market, load } => {
            let pace = match (saturate, ramp) {
                (true, _) => Pace::Saturate,
                (_, true) => Pace::Ramp { p99_us: p99_ms.saturating_mul(1_000) },
                _ => Pace::Fixed,
            };
            (Scenario::Fanout { pace }, of(market, load, &Usual(200, 4, 4, 500, 10))?, load)
        }
        ScenarioCommand::ManyChannels { market, load } => {
            (Scenario::ManyChannels, of(market, load, &Usual(500, 10, 50, 500, 10))?, load)
        }
        ScenarioCommand::Burst { market, load } => (Scenario::Burst, of(market, load, &Usual(200, 8, 4, 0, 64))?, load),
        ScenarioCommand::Churn { per_second, market, load } => {
            let scenario = Scenario::Churn { per_second: *per_second };
            (scenario, of(market, load, &Usual(200, 4, 4, 200, 10))?, load)
        }
        ScenarioCommand::Slow { ratio_max, write_deadline_ms, market, load } => {
            let ratio_percent = (ratio_max.clamp(0.0, 1e6) * 100.0) as u64;
            let scenario = Scenario::Slow { ratio_percent, deadline_ms: *write_deadline_ms };
            (scenario, of(market, load, &Usual(200, 2, 1, 500, 20))?, load)
        }
        ScenarioCommand::ReconnectStorm { market, load } => {
            (Scenario::ReconnectStorm, of(market, load, &Usual(5_000, 2, 8, 80, 5))?, load)
        }
        ScenarioCommand::Idle { market, load } => {
            (Scenario::Idle, of(market, load, &Usual(10_000, 1, 3, 0, 10))?, load)
        }
        ScenarioCommand::Soak { growth_max_kib, market, load } => {
            let scenario = Scenario::Soak { growth_kib: *growth_max_kib };
            (scenario, of(market, load, &Usual(100, 4, 1, 400, 1_200))?, load)
        }
        ScenarioCommand::Follow { channels, load } => {
            let market =
                Market { rate: None, symbols: None, channels: None, names: Vec::new(), server_argument: Vec::new() };
            let mut plan = of(&market, load, &Usual(10, 1, 1, 0, 10))?;
            if load.address.is_none() {
                plan.place = running(ADDRESS.parse().context("an address")?, load)?;
            }
            (Scenario::Follow { channels: channels.clone() }, plan, load)
        }
    })
}

fn of(market: &Market, args: &LoadArgs, usual: &Usual) -> anyhow::Result<Load> {
    let place = match args.address {
        Some(address) => running(address, args)?,
        None => Place::Own {
            program: std::env::current_exe().context("this program does not know where it is")?,
            arguments: market.server_argument.clone(),
        },
    };
    let channels = market.channels.unwrap_or(usual.1);
    let named = u32::try_from(market.names.len()).ok().filter(|count| *count > 0);
    let symbols = market.symbols.or(named).unwrap_or(usual.2);
    Ok(Load {
        place,
        connections: args.connections.unwrap_or(usual.0),
        channels,
        symbols,
        names: market.names.clone(),
        rate: market.rate.unwrap_or(usual.3),
        seconds: args.seconds.unwrap_or(usual.4),
        open_within: Duration::from_secs(args.open_seconds),
    })
}

fn running(address: std::net::SocketAddr, args: &LoadArgs) -> anyhow::Result<Place> {
    let key = args.key.clone().context("no key: give --key, or KANDLE_API_KEY in the environment")?;
    Ok(Place::Running { address, key, pid: args.server_pid, allow_remote: args.allow_remote })
}
