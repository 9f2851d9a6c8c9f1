//! `kandle import`: candles from files into the store.
//!
//! `columns` and `time` (what a row means) → `rows` (files to cells) → `survey` (the first look: instruments, scales, which
//! way time runs) → `order` (the law of order) → `load` (the second look: cells to candles to the store) → `refusals`.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use self::{
    load::{Loaded, Writer},
    refusals::Refusals,
    survey::Survey,
};
use crate::{backfill, cli::ImportArgs, config::Config, serve};

pub mod columns;
pub mod load;
pub mod order;
pub mod refusals;
pub mod rows;
pub mod survey;
pub mod time;

/// How many batches wait for the store while the next one is read.
const BATCHES_MAX: usize = 2;

/// Imports all files; what was read and refused goes to standard error.
///
/// # Errors
/// If a file or the store fails, or no row was taken.
pub async fn run(args: ImportArgs) -> anyhow::Result<()> {
    let files = args.files.iter().map(|path| path.display().to_string());
    let refusals = Refusals::new(files, args.report.as_deref()).context("cannot write the report")?;
    let configured = match &args.store {
        Some(_) => None,
        None => Config::load(args.config.as_deref(), std::env::vars_os().filter_map(serve::text))?.store,
    };
    let store = backfill::open(args.store.clone(), configured).await?;
    let refusals = Arc::new(Mutex::new(refusals));
    let args = Arc::new(args);
    let progress = progress(&args);
    let turn = {
        let progress = progress.clone();
        move |bytes| progress.inc(bytes)
    };
    progress.set_message("looking through the files");
    let (first, look) = (Arc::clone(&args), turn.clone());
    let survey = tokio::task::spawn_blocking(move || Survey::of(&first, look)).await.context("the reader ended")??;
    let survey = Arc::new(survey);
    progress.set_message("storing");
    let (batches, mut queue) = mpsc::channel(BATCHES_MAX);
    let reader = {
        let (args, survey, refusals) = (Arc::clone(&args), Arc::clone(&survey), Arc::clone(&refusals));
        tokio::task::spawn_blocking(move || load::read(&args, &survey, &refusals, &batches, turn))
    };
    let (interval, replace) = (args.interval, args.replace);
    let writer = Writer { store: &store, survey: &survey, interval, replace, refusals: &refusals };
    let mut loaded = Loaded::default();
    while let Some(rows) = queue.recv().await {
        writer.write(rows, &mut loaded).await.context("the store failed; start again to go on")?;
    }
    let read = reader.await.context("the reader ended")??;
    store.settled().await?;
    progress.finish_and_clear();
    let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
    refusals.finish().context("cannot write the report")?;
    let mut to = io::stderr().lock();
    read.write(&mut to)?;
    let Loaded { written, replaced, known } = loaded;
    writeln!(to, "{:<32}{written:>12}  {replaced} of them replace another one", "candles stored")?;
    writeln!(to, "{:<32}{known:>12}", "stored before")?;
    refusals.write(&mut to)?;
    if written + known == 0 {
        bail!("no row was taken; the table above says why");
    }
    Ok(())
}

/// Each file is read twice.
fn progress(args: &ImportArgs) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bytes: u64 = args.files.iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
    let bar = ProgressBar::new(bytes * 2);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {eta_precise} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
