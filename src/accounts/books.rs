//! `kandle ledger`: whether the books are right, and what moved a user's money.

use std::io::Write;

use anyhow::{Context, bail};
use ledger::{Head, Timestamp};
use records::{LINES_MAX, Line};
use serde_json::json;

use super::desk::Desk;
use crate::{
    backfill::moment::Moment,
    cli::{LedgerArgs, LedgerCommand},
};

/// Runs one command.
///
/// # Errors
/// Whatever it fails with; of `verify`, the first thing that is wrong.
pub async fn run(args: LedgerArgs) -> anyhow::Result<()> {
    let desk = Desk::open(&args.at).await?;
    let done = match args.command {
        LedgerCommand::Verify { head } => verify(&desk, head.as_deref()).await,
        LedgerCommand::Statement { user, from, to } => statement(&desk, &user, from, to).await,
    };
    desk.records.close().await;
    done
}

async fn verify(desk: &Desk, expected: Option<&str>) -> anyhow::Result<()> {
    let expected = expected.map(place).transpose()?;
    if let Some((sequence, hash)) = expected
        && sequence > 0
    {
        let page = desk.records.ledger().journal(sequence - 1, 1).await?;
        let found = page.first().map(|sealed| hex(&sealed.hash));
        if found.as_deref() != Some(hash) {
            bail!("entry {sequence} of the journal is not the one that was seen before: it was changed or taken away");
        }
    }
    let verified = desk.records.ledger().verify(None).await.context("the books are wrong")?;
    let Head { sequence, hash, .. } = verified.head;
    let (debits, credits) = verified.posted();
    let (accounts, hash) = (verified.accounts.len(), hex(&hash));
    desk.say(
        &format!(
            "The books are right: {sequence} entries, {accounts} accounts, {debits} micros taken and {credits} given, \
             {} held.\nKeep this to prove later that nothing before it was changed:\n  kandle ledger verify --head {sequence}:{hash}",
            verified.held
        ),
        &json!({"entries": sequence, "accounts": accounts, "head": format!("{sequence}:{hash}")}),
    )
}

/// Page by page: a statement may be longer than memory.
async fn statement(desk: &Desk, user: &str, from: Option<Moment>, to: Option<Moment>) -> anyhow::Result<()> {
    let user = desk.user(user).await?.id;
    let now = engine::market::Timestamp(i64::try_from(desk.now().nanos()).unwrap_or(i64::MAX));
    let time = |moment: Moment| Timestamp::new(moment.at(now).0.unsigned_abs()).unwrap_or_default();
    let (from, to) = (from.map_or(Timestamp::ZERO, time), to.map_or(Timestamp::MAX, time));
    let mut out = std::io::stdout().lock();
    writeln!(out, "sequence,time_ms,purpose,transfer,micros,balance_micros")?;
    let mut after = 0;
    loop {
        let page = desk.records.statements().page(user, from, to, after, LINES_MAX).await?;
        for line in &page.lines {
            let Line { sequence, time, purpose, transfer, micros, after } = line;
            let (ms, purpose) = (time.nanos() / 1_000_000, purpose.name());
            writeln!(out, "{sequence},{ms},{purpose},{:032x},{micros},{after}", transfer.0)?;
        }
        let Some(last) = page.lines.last().filter(|_| page.lines.len() == LINES_MAX) else { return Ok(()) };
        after = last.sequence;
    }
}

fn place(text: &str) -> anyhow::Result<(u64, &str)> {
    let pair = text.split_once(':').and_then(|(sequence, hash)| Some((sequence.parse().ok()?, hash)));
    let pair = pair.filter(|(_, hash)| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    pair.context("--head is NUMBER:HASH, as `kandle ledger verify` prints it")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
