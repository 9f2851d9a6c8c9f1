//! What it costs to ask for history over HTTP: beside an answer of the same bytes from memory, beside SQLite with the same rows
//! behind the same server, and beside QuestDB's own HTTP where `KANDLE_QUESTDB` names one.
//!
//! `cargo run --release -p bench-stores --bin history -- [--candles N] [--rounds N] [--check]`. A user waits for the page, not for the
//! store: so with `--check` a page that kandle keeps is held against the bytes from memory, and one that it reads anew against
//! SQLite. Contestants take turns in each round, one client on a connection that is kept; medians are printed, and ratios of them.

mod client;
mod rows;
mod serve;
mod sqlite;

use std::{
    env,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::Parser;
use client::Client;
use engine::{interval::Interval, market::Timestamp};
use store::{Batch, Keep, Series, Store, StoreUrl};

/// What a kept page costs at the most beside the same bytes from memory (budget 2.0), and one that is read anew beside SQLite
/// (1.0), on a noisy machine too.
const BUDGETS: [f64; 2] = [3.0, 1.6];
const PAGES: [usize; 2] = [1000, 10_000];
/// Requests of one contestant in one round.
const TURNS: usize = 5;

#[derive(Parser)]
struct Args {
    /// How many candles are stored.
    #[arg(long, default_value_t = 400_000)]
    candles: usize,
    /// How many rounds are measured.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Fail if a page of a thousand candles is beyond its budget.
    #[arg(long)]
    check: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let batches = rows::batches(args.candles)?;
    let path = folder.path().join("history.redb");
    let redb = Store::open(&StoreUrl::Redb(path.clone()), Keep::default()).await?;
    report("kandle", args.candles, write(&redb, &batches).await?, Some(size_of(&path)?));
    let path = folder.path().join("history.sqlite");
    let begin = Instant::now();
    let sqlite = sqlite::Sqlite::create(&path, &batches)?;
    report("sqlite", args.candles, begin.elapsed(), Some(size_of(&path)?));
    let questdb = match env::var("KANDLE_QUESTDB").ok().filter(|address| !address.is_empty()) {
        None => None,
        Some(address) => {
            let url = StoreUrl::parse(&format!("questdb:{address}/?tables=bench_"))?;
            let store = Store::open(&url, Keep::default()).await?;
            report("questdb", args.candles, write(&store, &batches).await?, None);
            Some(address)
        }
    };
    drop(batches);
    let servers = serve::start(redb.clone(), sqlite).await?;
    for page in PAGES.into_iter().filter(|page| page * rows::SOURCES <= args.candles) {
        let ratios = pages(args, page, &redb, &servers, questdb.as_deref()).await?;
        let is_within = ratios.iter().zip(BUDGETS).all(|(ratio, budget)| *ratio <= budget);
        // Larger pages are not kept.
        ensure!(!args.check || page > 1000 || is_within, "{ratios:.2?} of {page} candles are beyond {BUDGETS:?}");
    }
    Ok(())
}

/// Measures pages of one size and returns what is held against [`BUDGETS`].
async fn pages(
    args: &Args,
    page: usize,
    redb: &Store,
    servers: &serve::Servers,
    questdb: Option<&str>,
) -> anyhow::Result<[f64; 2]> {
    let mut names =
        vec!["bytes from memory", "kandle, kept", "kandle, read anew", "kandle, same tag", "sqlite behind axum"];
    names.extend(questdb.map(|_| "questdb /exec"));
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); names.len() + 1];
    let mut sizes = vec![0; names.len()];
    let mut kandle = Client::connect(servers.api).await?;
    let mut others = Client::connect(servers.others).await?;
    let mut exec = match questdb {
        Some(address) => Some(Client::connect(client::address(address)?).await?),
        None => None,
    };
    let sample = kandle.get(&rows::path(page, 0, args.candles), None).await?.body();
    ensure!(sample.len() > page * 200, "the page has only {} bytes", sample.len());
    servers.remember(sample);
    for round in 0..args.rounds {
        // Another order each round: what runs first meets the caches of what ran last.
        for turn in 0..names.len() {
            let contestant = (turn + round) % names.len();
            for number in 0..TURNS {
                // No two contestants ask for the same page: one would find what the other left.
                let place = (round * TURNS + number) * names.len() + contestant;
                let path = rows::path(page, place, args.candles);
                let tag = match contestant {
                    1 | 3 => kandle.get(&path, None).await?.tag.filter(|_| contestant == 3),
                    _ => None,
                };
                let begin = Instant::now();
                let answer = match (contestant, &mut exec) {
                    (0, _) => others.get("/memory", None).await?,
                    (1..=3, _) => kandle.get(&path, tag.as_deref()).await?,
                    (4, _) => others.get(&rows::sqlite_path(page, place, args.candles), None).await?,
                    (_, Some(exec)) => exec.get(&rows::exec_path(page, place, args.candles), None).await?,
                    _ => continue,
                };
                took[contestant].push(begin.elapsed());
                sizes[contestant] = answer.bytes;
            }
        }
        let series = Series { source: rows::source(round), interval: Interval::M1 };
        let from = rows::from(page, round, args.candles);
        let begin = Instant::now();
        ensure!(redb.candles(&series, from, Timestamp(i64::MAX), page).await?.len() == page, "a short page");
        took[names.len()].push(begin.elapsed());
    }
    names.push("the store alone");
    sizes.push(0);
    println!("\n{page} candles a page, median of {}:", args.rounds * TURNS);
    let medians: Vec<f64> = took.iter_mut().map(|took| median(took)).collect();
    for ((name, micros), bytes) in names.iter().zip(&medians).zip(&sizes) {
        println!("  {name:20} {micros:8.0} us  {:5.2}x  {bytes:8} bytes", micros / medians[0]);
    }
    Ok([medians[1] / medians[0], medians[2] / medians[4]])
}

fn median(took: &mut [Duration]) -> f64 {
    took.sort();
    took.get(took.len() / 2).map_or(0.0, |middle| middle.as_secs_f64() * 1e6)
}

async fn write(store: &Store, batches: &[Arc<Batch>]) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    for batch in batches {
        store.write(batch).await?;
    }
    store.settled().await?;
    Ok(begin.elapsed())
}

fn report(name: &str, count: usize, took: Duration, bytes: Option<u64>) {
    let rate = count as f64 / took.as_secs_f64();
    let size =
        bytes.map_or(String::new(), |bytes| format!(", {:.1} MB a million on disk", bytes as f64 / count as f64));
    println!("{name:8} {rate:9.0} candles/s written in durable batches of {}{size}", rows::BATCH_ROWS);
}

fn size_of(path: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    // What the disk gives for it: a file may have holes.
    Ok(std::fs::metadata(path)?.blocks() * 512)
}
