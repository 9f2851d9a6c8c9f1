//! The ledger's tables: what is read into a ledger, what it gives back. One text of SQL for both databases.

use std::{borrow::Cow, collections::BTreeMap, iter};

use ledger::{
    AccountId, AccountState, Balance, Effects, Entry, Event, Fact, Head, Kind, Ledger, Micros, Missing, Record, Sealed,
    State, Timestamp, TransferId,
};
use sqlx::{Any, AnyConnection, Row, any::AnyRow, query::Query};

use crate::{
    change::{Prepared, Value},
    chart,
    database::Database,
    error::RecordsError,
    url::DatabaseKind,
};

/// Rows in one statement: PostgreSQL takes 65,535 values, SQLite 32,766.
const ROWS_MAX: usize = 512;

/// The end of the stored journal.
pub(crate) async fn head(database: &Database, connection: &mut AnyConnection) -> Result<Head, RecordsError> {
    let sql =
        "SELECT h.sequence, j.bytes, j.hash FROM ledger_head h LEFT JOIN ledger_journal j ON j.sequence = h.sequence";
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(|error| database.unavailable(error))?;
    match number(database, &row, "sequence")? {
        0 => Ok(Head::default()),
        _ => entry(database, &row).map(|entry| entry.head()),
    }
}

/// Entries behind number `after`, in order.
pub(crate) async fn journal(
    database: &Database,
    connection: &mut AnyConnection,
    after: u64,
    limit: usize,
) -> Result<Vec<Sealed>, RecordsError> {
    let sql = "SELECT bytes, hash FROM ledger_journal WHERE sequence > $1 ORDER BY sequence LIMIT $2";
    let query = sqlx::query(sql).bind(signed(after)).bind(signed(limit as u64));
    let rows = query.fetch_all(connection).await.map_err(|error| database.unavailable(error))?;
    rows.iter().map(|row| sealed(database, row)).collect()
}

/// Open holds whose time is over, the first to end first.
pub(crate) async fn due(
    database: &Database,
    connection: &mut AnyConnection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<TransferId>, RecordsError> {
    let sql = "SELECT id FROM ledger_transfers WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2";
    let query = sqlx::query(sql).bind(signed(now.nanos())).bind(signed(limit as u64));
    let rows = query.fetch_all(connection).await.map_err(|error| database.unavailable(error))?;
    rows.iter().map(|row| id(database, row).map(TransferId)).collect()
}

/// The accounts among `ids`.
pub(crate) async fn accounts(
    database: &Database,
    connection: &mut AnyConnection,
    ids: &[AccountId],
) -> Result<Vec<AccountState>, RecordsError> {
    let sql = |list: &str| {
        format!(
            "SELECT a.id, a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted, j.bytes, j.hash \
             FROM ledger_accounts a JOIN ledger_journal j ON j.sequence = a.opened WHERE a.id IN {list}"
        )
    };
    let keys: Vec<_> = ids.iter().map(|id| id.0).collect();
    let rows = fetch_by_id(database, connection, &keys, sql).await?;
    rows.iter().map(|row| account_state(database, row)).collect()
}

/// Every account, page by page in the order of ids.
pub(crate) async fn accounts_behind(
    database: &Database,
    connection: &mut AnyConnection,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Vec<AccountState>, RecordsError> {
    let sql = "SELECT a.id, a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted, j.bytes, j.hash \
               FROM ledger_accounts a JOIN ledger_journal j ON j.sequence = a.opened WHERE a.id > $1 ORDER BY a.id LIMIT $2";
    let query = sqlx::query(sql).bind(key(after.map_or(0, |id| id.0))).bind(signed(limit as u64));
    let rows = query.fetch_all(connection).await.map_err(|error| database.unavailable(error))?;
    rows.iter().map(|row| account_state(database, row)).collect()
}

/// What is known of the ids among `ids`.
pub(crate) async fn transfers(
    database: &Database,
    connection: &mut AnyConnection,
    ids: &[TransferId],
) -> Result<Vec<(TransferId, Record)>, RecordsError> {
    let sql = |list: &str| {
        format!(
            "SELECT t.id, t.state, j.bytes, j.hash \
             FROM ledger_transfers t JOIN ledger_journal j ON j.sequence = t.sequence WHERE t.id IN {list}"
        )
    };
    let keys: Vec<_> = ids.iter().map(|id| id.0).collect();
    let rows = fetch_by_id(database, connection, &keys, sql).await?;
    let record = |row| {
        let entry = entry(database, row)?;
        let state = state(number(database, row, "state")?).ok_or_else(|| database.foreign("a state of a transfer"))?;
        Ok((TransferId(id(database, row)?), Record { fact: entry.fact, time: entry.time, state }))
    };
    rows.iter().map(record).collect()
}

/// Loads all that the events want.
pub(crate) async fn load(
    database: &Database,
    connection: &mut AnyConnection,
    ledger: &mut Ledger,
    events: impl Iterator<Item = &Event> + Clone,
) -> Result<(), RecordsError> {
    loop {
        let missing = ledger.missing(events.clone());
        if missing.is_empty() {
            return Ok(());
        }
        let (mut account_ids, mut transfer_ids) = (Vec::new(), Vec::new());
        for missing in missing {
            match missing {
                Missing::Account(id) => account_ids.push(id),
                Missing::Transfer(id) => transfer_ids.push(id),
            }
        }
        for state in accounts(database, connection, &account_ids).await? {
            ledger.load_account(state.account.id, Some(state));
        }
        for (id, record) in transfers(database, connection, &transfer_ids).await? {
            ledger.load_transfer(id, Some(record));
        }
        // The rest does not exist; what is known stays.
        account_ids.into_iter().for_each(|id| ledger.load_account(id, None));
        transfer_ids.into_iter().for_each(|id| ledger.load_transfer(id, None));
    }
}

/// Keeps other writers waiting until the transaction ends, and says where the stored journal ends.
pub(crate) async fn lock(database: &Database, connection: &mut AnyConnection) -> Result<u64, RecordsError> {
    let sql = "UPDATE ledger_head SET sequence = sequence WHERE one = 1 RETURNING sequence";
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(|error| database.unavailable(error))?;
    number(database, &row, "sequence")
}

/// Moves the head from `before` to number `after`: it touches a row unless another process has written since. It comes first in
/// each transaction that writes, so that another writer waits here and then finds another sequence.
pub(crate) fn take(database: &Database, before: &Head, after: u64) -> Prepared {
    let place = |number| placeholder(database, number);
    let sql = format!("UPDATE ledger_head SET sequence = {} WHERE sequence = {}", place(1), place(2));
    Prepared { sql, values: vec![after.into(), before.sequence.into()], rows: 1 }
}

/// What writes what has happened, but for the head.
pub(crate) fn write(database: &Database, effects: &Effects) -> Vec<Prepared> {
    let (mut opened, mut used) = (BTreeMap::new(), BTreeMap::new());
    for entry in &effects.entries {
        match &entry.fact {
            Fact::Done(Event::Open(account)) => drop(opened.insert(account.id, entry.sequence)),
            Fact::Done(event) => used.extend(event.transfer_id().map(|id| (id, entry.sequence))),
            Fact::Refused { id, .. } => drop(used.insert(*id, entry.sequence)),
        }
    }
    let mut prepared = Vec::new();
    let sql = |values: &str| format!("INSERT INTO ledger_journal (sequence, bytes, hash) VALUES {values}");
    prepared.extend(insert(database, &effects.entries, sql, |entry| {
        [entry.sequence.into(), Value::Bytes(entry.bytes()), Value::Bytes(entry.hash.to_vec())]
    }));
    // Of a row that is there, `opened` and `sequence` stay: the 0 that stands for them is not written.
    let sql = |values: &str| {
        format!(
            "INSERT INTO ledger_accounts (id, opened, debits_pending, debits_posted, credits_pending, credits_posted) \
             VALUES {values} ON CONFLICT (id) DO UPDATE SET \
             debits_pending = excluded.debits_pending, debits_posted = excluded.debits_posted, \
             credits_pending = excluded.credits_pending, credits_posted = excluded.credits_posted"
        )
    };
    prepared.extend(insert(database, &effects.accounts, sql, |AccountState { account, balance }| {
        let opened = opened.get(&account.id).copied().unwrap_or_default();
        let Balance { debits_pending, debits_posted, credits_pending, credits_posted } = *balance;
        let sums = [debits_pending, debits_posted, credits_pending, credits_posted].map(Value::from);
        let [debits_pending, debits_posted, credits_pending, credits_posted] = sums;
        let id = Value::Bytes(key(account.id.0));
        [id, opened.into(), debits_pending, debits_posted, credits_pending, credits_posted]
    }));
    let sql = |values: &str| format!("INSERT INTO ledger_lines (account, time, sequence, micros) VALUES {values}");
    prepared.extend(insert(database, &lines(effects), sql, |line| {
        let (account, micros) = (Value::Bytes(key(line.account.0)), Value::Number(Some(line.micros)));
        [account, line.time.into(), line.sequence.into(), micros]
    }));
    let sql = |values: &str| {
        format!(
            "INSERT INTO ledger_transfers (id, sequence, state, expires_at) VALUES {values} \
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at"
        )
    };
    prepared.extend(insert(database, &effects.transfers, sql, |(id, record)| {
        let sequence = used.get(id).copied().unwrap_or_default();
        let state = Value::Number(Some(state_number(record.state)));
        [Value::Bytes(key(id.0)), sequence.into(), state, record.expires_at().into()]
    }));
    prepared
}

/// What an entry took from an account of a user, below zero, or gave to it.
struct Line {
    account: AccountId,
    time: Timestamp,
    sequence: u64,
    micros: i64,
}

fn lines(effects: &Effects) -> Vec<Line> {
    let moved = |entry: &Entry| {
        let (hold, amount) = match &entry.fact {
            Fact::Done(Event::Transfer(transfer)) if transfer.kind == Kind::Post => {
                return Some((transfer.debit, transfer.credit, transfer.amount));
            }
            Fact::Done(Event::Settle(settle)) => (settle.hold, settle.amount?),
            _ => return None,
        };
        // What ends a hold changes it: it is among the effects.
        let held = effects.transfers.binary_search_by_key(&hold, |(id, _)| *id).ok();
        match held.and_then(|place| effects.transfers.get(place))?.1.fact {
            Fact::Done(Event::Transfer(held)) => Some((held.debit, held.credit, amount)),
            _ => None,
        }
    };
    let mut lines = Vec::new();
    for entry in &effects.entries {
        let Some((debit, credit, amount)) = moved(entry).filter(|(_, _, amount)| *amount > Micros::ZERO) else {
            continue;
        };
        let micros = signed(amount.get());
        for (account, micros) in [(debit, -micros), (credit, micros)] {
            if chart::is_of_user(account) {
                lines.push(Line { account, time: entry.time, sequence: entry.sequence, micros });
            }
        }
    }
    lines
}

pub(crate) type AnyQuery<'q> = Query<'q, Any, sqlx::any::AnyArguments<'q>>;

fn insert<T, const COLUMNS: usize>(
    database: &Database,
    rows: &[T],
    sql: impl Fn(&str) -> String,
    values: impl Fn(&T) -> [Value; COLUMNS],
) -> Vec<Prepared> {
    let prepared = |rows: &[T]| {
        let sql = sql(&placeholders(database, rows.len(), COLUMNS));
        Prepared { sql, values: rows.iter().flat_map(&values).collect(), rows: rows.len() as u64 }
    };
    powers_of_two(rows).map(prepared).collect()
}

/// Parts that have 1, 2, 4, … rows: so few different statements stay prepared, and reading the text of a long one takes the
/// database more time than doing what it says.
fn powers_of_two<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    iter::from_fn(move || {
        let part = 1 << rows.len().min(ROWS_MAX).checked_ilog2()?;
        let (taken, rest) = rows.split_at_checked(part)?;
        rows = rest;
        Some(taken)
    })
}

async fn fetch_by_id(
    database: &Database,
    connection: &mut AnyConnection,
    ids: &[u128],
    sql: impl Fn(&str) -> String,
) -> Result<Vec<AnyRow>, RecordsError> {
    let mut rows = Vec::with_capacity(ids.len());
    for ids in powers_of_two(ids) {
        let sql = sql(&placeholders(database, 1, ids.len()));
        let query = ids.iter().fold(sqlx::query(&sql), |query, id| query.bind(key(*id)));
        rows.extend(query.fetch_all(&mut *connection).await.map_err(|error| database.unavailable(error))?);
    }
    Ok(rows)
}

/// `($1, $2), ($3, $4)` for two rows of two columns. On SQLite `(?, ?), (?, ?)`: there the time that names take grows with the
/// square of their number, so that 512 rows took eight times as long.
pub(crate) fn placeholders(database: &Database, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * (columns * 8 + 4));
    for place in 0..rows * columns {
        text.push_str(match (place, place % columns) {
            (0, _) => "(",
            (_, 0) => "), (",
            _ => ", ",
        });
        text.push_str(&placeholder(database, place + 1));
    }
    text.push(')');
    text
}

fn placeholder(database: &Database, place: usize) -> Cow<'static, str> {
    match database.kind() {
        DatabaseKind::Sqlite => "?".into(),
        DatabaseKind::Postgres => format!("${place}").into(),
    }
}

fn account_state(database: &Database, row: &AnyRow) -> Result<AccountState, RecordsError> {
    let Entry { fact: Fact::Done(Event::Open(account)), .. } = entry(database, row)? else {
        return Err(database.foreign("an account whose entry opens none"));
    };
    let micros = |column| number(database, row, column).map(|micros| Micros::new(micros).unwrap_or(Micros::MAX));
    let balance = Balance {
        debits_pending: micros("debits_pending")?,
        debits_posted: micros("debits_posted")?,
        credits_pending: micros("credits_pending")?,
        credits_posted: micros("credits_posted")?,
    };
    if account.id.0 == id(database, row)? {
        Ok(AccountState { account, balance })
    } else {
        Err(database.foreign("an account whose entry opens another"))
    }
}

fn entry(database: &Database, row: &AnyRow) -> Result<Entry, RecordsError> {
    let sealed = sealed(database, row)?;
    Entry::decode(&sealed.bytes, sealed.hash).map_err(|error| database.foreign(format!("a journal entry: {error}")))
}

fn sealed(database: &Database, row: &AnyRow) -> Result<Sealed, RecordsError> {
    let field = |column| row.try_get::<Vec<u8>, _>(column).map_err(|error| database.foreign(error.to_string()));
    let hash = field("hash")?.try_into().map_err(|_| database.foreign("a hash that has not 32 bytes"))?;
    Ok(Sealed { bytes: field("bytes")?, hash })
}

fn id(database: &Database, row: &AnyRow) -> Result<u128, RecordsError> {
    let bytes = row.try_get::<Vec<u8>, _>("id").map_err(|error| database.foreign(error.to_string()))?;
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| database.foreign("an id that has not 16 bytes"))
}

fn number(database: &Database, row: &AnyRow, column: &str) -> Result<u64, RecordsError> {
    let number = row.try_get::<i64, _>(column).map_err(|error| database.foreign(error.to_string()))?;
    u64::try_from(number).map_err(|_| database.foreign(format!("a {column} below zero")))
}

pub(crate) fn key(id: u128) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// All numbers that are stored are below 2^63: amounts and times by their types, sequences by the time it takes.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn state_number(state: State) -> i64 {
    match state {
        State::Final => 0,
        State::Held => 1,
        State::Settled => 2,
        State::Voided => 3,
        State::Expired => 4,
    }
}

fn state(number: u64) -> Option<State> {
    [State::Final, State::Held, State::Settled, State::Voided, State::Expired]
        .into_iter()
        .find(|state| state_number(*state) == signed(number))
}
