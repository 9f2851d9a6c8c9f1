//! `GET /v1/billing/statement`: what moved a user's money, as CSV (RFC 4180) with what the user had after each line.
//!
//! Every cell is a number, a time or a word of ours, and none begins with a letter that a spreadsheet takes for a formula, but
//! the minus of a balance that is owed.

use std::{fmt::Write, sync::Arc};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use ledger::Timestamp;
use records::{LINES_MAX, Line, Records, RecordsError, Statement, UserId};

use super::{kai::Kai, query};
use crate::{access::Member, given::Given, moment, problem::Problem, routes::App};

const HEAD: &str = "time,entry,purpose,transfer,credit_kai,debit_kai,balance_kai\r\n";
/// How far a statement goes back that does not say from when on.
const USUAL_NANOS: u64 = 30 * 24 * 60 * 60 * 1_000_000_000;

/// What moved my money?
///
/// A line for each movement with the balance behind it, as CSV; of the last 30 days unless it is said otherwise.
#[utoipa::path(
    get,
    path = "/v1/billing/statement",
    tag = "billing",
    params(
        ("from" = Option<String>, Query, description = "Not before: milliseconds since 1970 or RFC 3339."),
        ("to" = Option<String>, Query, description = "Before."),
    ),
    responses((status = 200, description = "The statement.", body = String, content_type = "text/csv")),
)]
pub(crate) async fn statement(
    State(app): State<App>,
    member: Member,
    RawQuery(text): RawQuery,
) -> Result<Response, Problem> {
    let text = text.unwrap_or_default();
    let given = Given::parse(&text, &["from", "to"])?;
    let (from, to) = query::span(&given)?;
    let to = to.unwrap_or_else(|| app.now());
    let usual = Timestamp::new(to.nanos().saturating_sub(USUAL_NANOS)).unwrap_or(Timestamp::ZERO);
    let span = StatementSpan { user: member.user, from: from.unwrap_or(usual).min(to), to };
    let records = Arc::clone(&app.accounts()?.records);
    // The first page is read before the answer begins, so that a database that is away is told by a status.
    let (head, next) = span.first(&records).await?;
    let pages = stream::unfold(next, move |next| {
        let records = Arc::clone(&records);
        async move {
            let page = span.page(&records, next?).await;
            Some(match page {
                Ok((text, next)) => (Ok(text), next),
                // The client sees that the answer breaks off.
                Err(error) => (Err(error), None),
            })
        }
    });
    // Whoever packs the answer may look behind its end.
    let body = Body::from_stream(stream::iter([Ok::<_, RecordsError>(head)]).chain(pages.fuse()));
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"statement.csv\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

/// Whose statement, from when on and until when.
#[derive(Clone, Copy)]
pub struct StatementSpan {
    /// Whose.
    pub user: UserId,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end, which is not part of it.
    pub to: Timestamp,
}

impl StatementSpan {
    /// Its head and first page as text, and where the next page begins, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn first(self, records: &Records) -> Result<(String, Option<u64>), RecordsError> {
        let Statement { opening, lines } =
            records.statements().page(self.user, self.from, self.to, 0, LINES_MAX).await?;
        let mut text = HEAD.to_owned();
        push(&mut text, format_args!("{},,opening,,,,{}", moment::rfc3339(self.from), Kai::signed(opening)));
        lines.iter().for_each(|line| push_line(&mut text, line));
        Ok((text, next(&lines)))
    }

    /// The page behind entry `after`, likewise.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn page(self, records: &Records, after: u64) -> Result<(String, Option<u64>), RecordsError> {
        let lines = records.statements().page(self.user, self.from, self.to, after, LINES_MAX).await?.lines;
        let mut text = String::new();
        lines.iter().for_each(|line| push_line(&mut text, line));
        Ok((text, next(&lines)))
    }
}

/// Where the page behind a full one begins.
fn next(lines: &[Line]) -> Option<u64> {
    lines.last().filter(|_| lines.len() == LINES_MAX).map(|line| line.sequence)
}

fn push_line(text: &mut String, line: &Line) {
    let (time, purpose, after) = (moment::rfc3339(line.time), line.purpose.name(), Kai::signed(line.after));
    let amount = Kai::signed(line.micros.saturating_abs());
    let (credit, debit) = if line.micros < 0 { (None, Some(amount)) } else { (Some(amount), None) };
    let [credit, debit] = [credit, debit].map(|amount| amount.map_or_else(String::new, |amount| amount.to_string()));
    // A word, or a spreadsheet would take some of them for numbers.
    let transfer = format!("tr_{:032x}", line.transfer.0);
    push(text, format_args!("{time},{},{purpose},{transfer},{credit},{debit},{after}", line.sequence));
}

fn push(text: &mut String, row: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{row}\r\n");
}
