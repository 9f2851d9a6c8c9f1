//! What moved a user's money: lines of the journal, in order, with what the user had after each.

use ledger::{Entry, Event, Fact, Timestamp, TransferId};

use crate::{
    access::Access,
    bounded,
    chart::{self, Purpose, UserId},
    error::RecordsError,
};

/// Lines of a page of a statement.
pub const LINES_MAX: usize = 1000;

/// A page of a statement. Amounts are micros of the balance less the debt, below zero where more is owed than there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What the user had before the first line.
    pub opening: i64,
    /// What happened.
    pub lines: Vec<Line>,
}

/// Something that moved money. What is only held is not on a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of its entry in the journal.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// What for.
    pub purpose: Purpose,
    /// The transfer, or the settlement.
    pub transfer: TransferId,
    /// What came in, or below zero what went out.
    pub micros: i64,
    /// What the user had then.
    pub after: i64,
}

/// The statements. Cheap to clone.
#[derive(Clone)]
pub struct Statements {
    pub(crate) access: Access,
}

const NET: &str = "CAST(COALESCE(SUM(l.micros), 0) AS BIGINT)";

impl Statements {
    /// What happened from `from` on and before `to`, in order, at most `limit` lines; behind number `after`, the last of the
    /// page before, or from the beginning with 0.
    ///
    /// # Errors
    /// If it cannot be read, or more than [`LINES_MAX`] lines are asked for.
    pub async fn page(
        &self,
        user: UserId,
        from: Timestamp,
        to: Timestamp,
        after: u64,
        limit: usize,
    ) -> Result<Statement, RecordsError> {
        bounded("lines of a statement", LINES_MAX, limit)?;
        let (balance, debt) = (chart::balance(user).0.to_be_bytes(), chart::debt(user).0.to_be_bytes());
        let accounts = [balance.as_slice().into(), debt.as_slice().into()];
        let sql = format!(
            "SELECT {NET} AS net FROM ledger_lines l WHERE l.account IN ($1, $2) AND (l.time < $3 OR l.sequence <= $4)"
        );
        let mut values = accounts.to_vec();
        values.extend([from.into(), after.into()]);
        let row = self.access.row(&sql, &values).await?;
        let opening = row.map(|row| self.access.fields(&row).signed("net")).transpose()?.unwrap_or_default();

        // What only pays a debt from the balance is on both accounts and comes to nothing.
        let sql = format!(
            "SELECT m.net, j.bytes, j.hash FROM (SELECT l.sequence, {NET} AS net FROM ledger_lines l \
             WHERE l.account IN ($1, $2) AND l.time >= $3 AND l.time < $5 AND l.sequence > $4 \
             GROUP BY l.sequence HAVING SUM(l.micros) <> 0 ORDER BY l.sequence LIMIT $6) m \
             JOIN ledger_journal j ON j.sequence = m.sequence ORDER BY j.sequence"
        );
        values.extend([to.into(), (limit as u64).into()]);
        let rows = self.access.rows(&sql, &values).await?;
        let (mut lines, mut net) = (Vec::with_capacity(rows.len()), opening);
        for row in &rows {
            let fields = self.access.fields(row);
            let entry = Entry::decode(&fields.bytes("bytes")?, fields.hash("hash")?);
            let entry = entry.map_err(|error| self.access.database().foreign(format!("a journal entry: {error}")))?;
            let (transfer, purpose) = cause(&entry).ok_or_else(|| fields.wrong("line"))?;
            let micros = fields.signed("net")?;
            net = net.saturating_add(micros);
            lines.push(Line { sequence: entry.sequence, time: entry.time, purpose, transfer, micros, after: net });
        }
        Ok(Statement { opening, lines })
    }
}

fn cause(entry: &Entry) -> Option<(TransferId, Purpose)> {
    match &entry.fact {
        Fact::Done(Event::Transfer(transfer)) => Some((transfer.id, Purpose::from_code(transfer.code)?)),
        // Only charges are held.
        Fact::Done(Event::Settle(settle)) => Some((settle.id, Purpose::Charge)),
        _ => None,
    }
}
