//! What a user may spend in 30 days: the cap of the tier, less what was charged today and on the 29 days before, in UTC.
//!
//! The ledger keeps it, as an account that every hold takes from as well, so that no cap is overshot. Once a day, and when
//! the cap changes, that account is aligned: it gets back what was charged on the day that is now too old.
//!
//! A settlement moves what is counted of the days and what the account has by the same amount, in one transaction. So the
//! difference that an alignment moves does not depend on what is settled meanwhile.

use ledger::{Balancing, Event, Micros, Timestamp, Transfer};

use crate::{
    access::{Access, TRIES_MAX},
    change::Write,
    chart::{self, Purpose, UserId},
    error::{Conflict, RecordsError},
};

/// The largest cap: a million KAI.
pub const CAP_MAX: Micros = match Micros::new(1_000_000_000_000) {
    Some(max) => max,
    None => Micros::MAX,
};
/// Days that a cap counts, today included.
pub const CAP_DAYS: u64 = 30;

const DAY_NANOS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// How much of a cap is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What may be spent in 30 days.
    pub cap: Micros,
    /// What was charged in them.
    pub used: Micros,
    /// What is held for charges that are not settled.
    pub held: Micros,
    /// What can still be held.
    pub remaining: Micros,
}

/// Where a user's allowance stands, all of one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    cap: Micros,
    used: Micros,
    held: Micros,
    /// What the account has got, less what was settled.
    has: Micros,
    aligned: u64,
    pub(crate) alignments: u64,
}

/// The day of a moment, from the epoch.
pub(crate) fn day(time: Timestamp) -> u64 {
    time.nanos() / DAY_NANOS
}

pub(crate) async fn standing(access: &Access, user: UserId, today: u64) -> Result<Standing, RecordsError> {
    // Also days to come, which another clock may have begun: see above.
    let sql = "SELECT u.cap, u.aligned, u.alignments, a.debits_pending, a.debits_posted, a.credits_posted, \
               (SELECT CAST(COALESCE(SUM(d.micros), 0) AS BIGINT) FROM usage_days d \
               WHERE d.user_id = u.id AND d.day > $3) AS used \
               FROM users u JOIN ledger_accounts a ON a.id = $2 WHERE u.id = $1";
    let account = chart::allowance(user).0.to_be_bytes();
    let values = [user.into(), account.as_slice().into(), today.saturating_sub(CAP_DAYS).into()];
    let row = access.row(sql, &values).await?.ok_or(RecordsError::Conflict(Conflict::UnknownUser))?;
    let fields = access.fields(&row);
    Ok(Standing {
        cap: fields.micros("cap")?,
        used: fields.micros("used")?,
        held: fields.micros("debits_pending")?,
        has: fields.micros("credits_posted")?.saturating_sub(fields.micros("debits_posted")?),
        aligned: fields.number("aligned")?,
        alignments: fields.number("alignments")?,
    })
}

/// Aligns the allowance of a user, unless it is for today.
pub(crate) async fn align(access: &Access, user: UserId) -> Result<(), RecordsError> {
    let today = day(access.now());
    if access.is_aligned(user, today) {
        return Ok(());
    }
    for _ in 0..TRIES_MAX {
        let standing = standing(access, user, today).await?;
        if standing.aligned < today {
            let set = "UPDATE users SET aligned = $1, alignments = alignments + 1 WHERE id = $2 AND alignments = $3";
            let set = Write::new(set).bind(today).bind(user).bind(standing.alignments).or(Conflict::Changed);
            match access.change(vec![set], standing.alignment(user, standing.cap)).await {
                Err(RecordsError::Conflict(Conflict::Changed)) => continue,
                outcomes => chart::all_done(access.database(), &outcomes?)?,
            }
        }
        access.set_aligned(user, today);
        return Ok(());
    }
    Err(RecordsError::Contended { database: access.database().name() })
}

impl Standing {
    /// Brings the account to what `cap` leaves, up, or down as far as it is not held.
    pub(crate) fn alignment(&self, user: UserId, cap: Micros) -> Vec<Event> {
        let cause = format!("align:{}:{}", user.0, self.alignments);
        let (pool, account) = (chart::POOL, chart::allowance(user));
        let target = cap.saturating_sub(self.used);
        let transfer = if target >= self.has {
            chart::post(&cause, pool, account, target.saturating_sub(self.has), Purpose::Allowance)
        } else {
            let down = chart::post(&cause, account, pool, self.has.saturating_sub(target), Purpose::Allowance);
            Transfer { balancing: Balancing { debit: true, credit: false }, ..down }
        };
        if transfer.amount == Micros::ZERO { Vec::new() } else { vec![Event::Transfer(transfer)] }
    }

    pub(crate) fn window(&self, today: u64) -> Window {
        let Self { cap, used, held, .. } = *self;
        let left = if self.aligned == today { self.has } else { cap.saturating_sub(used) };
        Window { cap, used, held, remaining: left.saturating_sub(held) }
    }
}
