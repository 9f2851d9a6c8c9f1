//! `kandle ledger`: whether the books are right, and what moved a user's money.

use std::io::Write;

use anyhow::Context;
use api::billing::StatementSpan;
use ledger::{Head, Timestamp};
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
    let expected = expected.map(read).transpose()?;
    let verified = desk.records.ledger().verify(expected.as_ref()).await.context("the books are wrong")?;
    let (debits, credits) = verified.posted();
    let (entries, accounts, head) = (verified.head.sequence, verified.accounts.len(), written(&verified.head));
    desk.say(
        &format!(
            "The books are right: {entries} entries, {accounts} accounts, {debits} micros taken and {credits} given, \
             {} held.\nKeep this to prove later that nothing before it was changed:\n  kandle ledger verify --head {head}",
            verified.held
        ),
        &json!({"entries": entries, "accounts": accounts, "head": head}),
    )
}

/// Page by page: a statement may be longer than memory. It is the one that its user gets over HTTP.
async fn statement(desk: &Desk, user: &str, from: Option<Moment>, to: Option<Moment>) -> anyhow::Result<()> {
    let user = desk.user(user).await?.id;
    let now = engine::market::Timestamp(i64::try_from(desk.now().nanos()).unwrap_or(i64::MAX));
    let time = |moment: Moment| Timestamp::new(moment.at(now).0.unsigned_abs()).unwrap_or_default();
    let span = StatementSpan { user, from: from.map_or(Timestamp::ZERO, time), to: to.map_or(Timestamp::MAX, time) };
    let mut out = std::io::stdout().lock();
    let (text, mut next) = span.first(&desk.records).await?;
    out.write_all(text.as_bytes())?;
    while let Some(after) = next {
        let (text, behind) = span.page(&desk.records, after).await?;
        out.write_all(text.as_bytes())?;
        next = behind;
    }
    Ok(())
}

/// Reads what [`written`] wrote.
fn read(text: &str) -> anyhow::Result<Head> {
    let parts: Vec<_> = text.split(':').collect();
    let head = match parts.as_slice() {
        [sequence, nanos, hash] => sequence.parse().ok().zip(nanos.parse().ok()).zip(hex::decode(hash).ok()),
        _ => None,
    };
    let head = head.and_then(|((sequence, nanos), hash)| {
        Some(Head { sequence, time: Timestamp::new(nanos)?, hash: hash.try_into().ok()? })
    });
    head.context("--head is NUMBER:TIME:HASH, as `kandle ledger verify` prints it")
}

fn written(head: &Head) -> String {
    format!("{}:{}:{}", head.sequence, head.time.nanos(), hex::encode(head.hash))
}
