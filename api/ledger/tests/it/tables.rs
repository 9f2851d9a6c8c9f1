//! TigerBeetle's own tables, row by row. A row whose semantics are not shared is left out by a reason of [`not_shared`], and
//! the test counts what was run and what was left out, so that nothing is left out unseen.

use std::collections::BTreeMap;

use ledger::{
    Account, AccountId, Balance, Balancing, Event, Kind, Ledger, Limit, Micros, Outcome, Refusal, Settle, Timestamp,
    Transfer, TransferId, Void, verify,
};

use crate::shelf::Shelf;

const TABLES: &str = include_str!("vectors/tigerbeetle_ledger_tables.txt");
const RESULTS: &str = include_str!("vectors/tigerbeetle_create_transfer_results.json");

/// Sections that are about something that there is not here.
const SECTIONS_LEFT_OUT: [(&str, &str); 2] = [
    ("create_accounts: closed accounts", "accounts are not closed in the ledger"),
    ("create_transfers: closing accounts", "accounts are not closed in the ledger"),
];

/// Rows with another result here: what was a member of a chain is not kept, so it cannot differ.
const OTHER_RESULTS: [(&str, &str); 1] =
    [("account A1 0 0 0 0 _ _ _ _ L1 C2 LNK _ _ _ _ _ _ _ exists_with_different_flags", "exists_with_different_code")];

/// Why a row cannot be asked here.
fn not_shared(row: &Row) -> Option<&'static str> {
    let is_void = row.has("VOI");
    Some(match row.status {
        "timestamp_must_be_zero" | "reserved_flag" | "reserved_field" => "no reserved bits, no time of the client",
        "flags_are_mutually_exclusive" => "flags that exclude each other are one type",
        "pending_id_must_be_zero" | "timeout_reserved_for_pending_transfer" | "closing_transfer_must_be_pending" => {
            "only what ends a hold names one, only a hold has a time, nothing closes"
        }
        status if status.starts_with("pending_transfer_has_different_") => "what ends a hold takes its fields from it",
        "exceeds_pending_transfer_amount" if is_void => "what ends a hold takes its fields from it",
        status if status.ends_with("_user_data_64") || status.ends_with("_user_data_32") => "one reference",
        status if row.is_account() && status.ends_with("_must_be_zero") => "an account is opened with nothing",
        _ => return None,
    })
}

struct Row<'a> {
    text: &'a str,
    fields: Vec<&'a str>,
    status: &'a str,
}

impl<'a> Row<'a> {
    fn new(text: &'a str) -> Self {
        let fields: Vec<_> = text.split_whitespace().collect();
        let status = fields[fields.len() - 1];
        let row = Self { text, fields, status };
        assert_eq!(row.fields.len(), if row.is_account() { 21 } else { 24 }, "{text}");
        row
    }

    fn is_account(&self) -> bool {
        self.fields[0] == "account"
    }

    fn has(&self, flag: &str) -> bool {
        self.fields.contains(&flag)
    }

    fn line(&self) -> String {
        self.fields.join(" ")
    }

    fn event(&self) -> Event {
        let field = |n: usize| self.fields[n];
        if self.is_account() {
            return Event::Open(Account {
                id: AccountId(number(field(1), u128::MAX)),
                reference: number(field(6), u128::MAX),
                ledger: number(field(10), u128::MAX) as u32,
                code: number(field(11), u128::MAX) as u16,
                limit: match (self.has("D<C"), self.has("C<D")) {
                    (true, _) => Limit::DebitsMustNotExceedCredits,
                    (false, true) => Limit::CreditsMustNotExceedDebits,
                    (false, false) => Limit::None,
                },
            });
        }
        let id = TransferId(number(field(1), u128::MAX));
        let amount = micros(field(4));
        let hold = TransferId(number(field(5), u128::MAX));
        let reference = number(field(6), u128::MAX);
        if self.has("VOI") {
            return Event::Void(Void { id, hold, reference });
        }
        if self.has("POS") {
            // There the largest amount is a way to say: all of it.
            let amount = Some(amount).filter(|amount| *amount != Micros::MAX);
            return Event::Settle(Settle { id, hold, amount, reference });
        }
        let timeout_s = number(field(9), u128::MAX) as u32;
        Event::Transfer(Transfer {
            id,
            debit: AccountId(number(field(2), u128::MAX)),
            credit: AccountId(number(field(3), u128::MAX)),
            amount,
            balancing: Balancing { debit: self.has("BDR"), credit: self.has("BCR") },
            kind: if self.has("PEN") { Kind::Hold { timeout_s } } else { Kind::Post },
            ledger: number(field(10), u128::MAX) as u32,
            code: number(field(11), u128::MAX) as u16,
            reference,
        })
    }
}

/// `A1`, `T1`, `17`, `_`, or `-3`, which is the largest number less 3.
fn number(text: &str, max: u128) -> u128 {
    match text.strip_prefix('-') {
        Some(less) => max - less.parse::<u128>().unwrap(),
        None if text == "_" => 0,
        None => text.trim_start_matches(|c: char| c.is_ascii_uppercase()).parse().unwrap(),
    }
}

fn micros(text: &str) -> Micros {
    Micros::new(number(text, u128::from(Micros::MAX.get())) as u64).unwrap()
}

fn balance(fields: &[&str]) -> Balance {
    Balance {
        debits_pending: micros(fields[0]),
        debits_posted: micros(fields[1]),
        credits_pending: micros(fields[2]),
        credits_posted: micros(fields[3]),
    }
}

fn status(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(done) if done.is_repeat => "exists",
        Ok(_) => "created",
        Err(refusal) => refusal.name(),
    }
}

#[derive(Default)]
struct World {
    shelf: Shelf,
    now: Timestamp,
    was_set_up: bool,
}

impl World {
    /// As little as a store can do: each batch begins with nothing loaded.
    fn ledger(&self) -> Ledger {
        Ledger::resume(self.shelf.head())
    }

    fn tick(&mut self, fields: &[&str]) {
        let unit = if fields[1] == "seconds" { 1_000_000_000 } else { 1 };
        let nanos = match fields[0].strip_prefix('-') {
            Some(less) => Timestamp::MAX.nanos() - less.parse::<u64>().unwrap() * unit,
            None => self.now.nanos() + fields[0].parse::<u64>().unwrap() * unit,
        };
        self.now = Timestamp::new(nanos).unwrap();
        let mut ledger = self.ledger();
        self.shelf.expire_due(&mut ledger, self.now);
    }

    fn set_up(&mut self, fields: &[&str]) {
        let account = self.shelf.accounts.get_mut(&AccountId(number(fields[0], u128::MAX))).unwrap();
        account.balance = balance(&fields[1..]);
        self.was_set_up = true;
    }

    fn commit(&mut self, rows: &[Row<'_>], tally: &mut Tally) {
        let mut ledger = self.ledger();
        let mut rest = rows;
        while !rest.is_empty() {
            let end = rest.iter().position(|row| !row.has("LNK")).map(|last| last + 1);
            let (chain, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            if end.is_none() {
                *tally.left_out.entry("a chain is a slice and cannot be left open").or_default() += chain.len();
                continue;
            }
            if let [row] = chain
                && let Some(why) = not_shared(row)
            {
                *tally.left_out.entry(why).or_default() += 1;
                continue;
            }
            let events: Vec<_> = chain.iter().map(Row::event).collect();
            let outcomes = self.shelf.apply(&mut ledger, self.now, &events);
            for (row, outcome) in chain.iter().zip(&outcomes) {
                let other = OTHER_RESULTS.iter().find(|(line, _)| *line == row.line());
                assert_eq!(status(outcome), other.map_or(row.status, |(_, ours)| ours), "{}", row.text);
                tally.other += usize::from(other.is_some());
            }
            tally.run += chain.len();
        }
    }

    fn look_up_account(&self, fields: &[&str]) {
        let account = self.shelf.accounts.get(&AccountId(number(fields[0], u128::MAX)));
        let want = (fields.len() > 4).then(|| balance(&fields[1..]));
        assert_eq!(account.map(|state| state.balance), want, "{fields:?}");
    }

    fn look_up_transfer(&self, fields: &[&str]) {
        let id = TransferId(number(fields[0], u128::MAX));
        let record = self.shelf.transfers.get(&id);
        let found = record.and_then(|record| match record.fact {
            ledger::Fact::Done(Event::Transfer(transfer)) => Some(transfer.amount),
            ledger::Fact::Done(Event::Settle(settle)) => settle.amount,
            _ => None,
        });
        match fields[1] {
            "exists" => assert_eq!(found.is_some(), fields[2] == "true", "{fields:?}"),
            "amount" => assert_eq!(found, Some(micros(fields[2])), "{fields:?}"),
            other => panic!("{other}"),
        }
    }

    /// What the tables set up did not happen, so only a journal without it is whole.
    fn end(&self, tally: &mut Tally) {
        if !self.was_set_up && !self.shelf.journal.is_empty() {
            let verified = verify(self.shelf.journal.iter().map(Into::into), Some(&self.shelf.head())).unwrap();
            assert!(verified.accounts.iter().eq(self.shelf.accounts.values()));
            tally.journals += 1;
        }
    }
}

#[derive(Default)]
struct Tally {
    sections: usize,
    run: usize,
    other: usize,
    lookups: usize,
    journals: usize,
    left_out: BTreeMap<&'static str, usize>,
}

fn play(section: &str, tally: &mut Tally) {
    let (name, body) = section.split_once('\n').unwrap();
    let is_row = |line: &&str| ["account", "transfer"].iter().any(|word| line.split(' ').next() == Some(word));
    let lines = body.lines().map(|line| line.split("//").next().unwrap().trim());
    if let Some((_, why)) = SECTIONS_LEFT_OUT.iter().find(|(left_out, _)| *left_out == name) {
        *tally.left_out.entry(why).or_default() += lines.filter(is_row).count();
        return;
    }
    tally.sections += 1;
    let (mut world, mut rows) = (World::default(), Vec::new());
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[0] {
            "account" | "transfer" => rows.push(Row::new(line)),
            "setup" => world.set_up(&fields[1..]),
            "tick" => world.tick(&fields[1..]),
            "commit" => {
                // A section can have several tests: the next one begins where an account is opened that is there.
                let opens_again = |row: &Row<'_>| match row.event() {
                    Event::Open(account) => row.status == "created" && world.shelf.accounts.contains_key(&account.id),
                    _ => false,
                };
                if rows.iter().any(opens_again) {
                    world.end(tally);
                    world = World::default();
                }
                world.commit(&rows, tally);
                rows.clear();
            }
            "lookup_account" => world.look_up_account(&fields[1..]),
            "lookup_transfer" => world.look_up_transfer(&fields[1..]),
            other => panic!("{other}"),
        }
        tally.lookups += usize::from(fields[0].starts_with("lookup"));
    }
    assert!(rows.is_empty());
    world.end(tally);
}

#[test]
fn the_tables_of_tigerbeetle_come_out_as_there() {
    let mut tally = Tally::default();
    for section in TABLES.split("\n## ").skip(1) {
        play(section, &mut tally);
    }
    for (why, rows) in &tally.left_out {
        println!("left out: {rows:3} rows: {why}");
    }
    let counts = (tally.sections, tally.run, tally.lookups, tally.journals, tally.other);
    println!("sections, rows, lookups, journals verified, rows with another result: {counts:?}");
    assert_eq!(counts, (23, 278, 142, 10, 1));
    assert_eq!(tally.left_out.values().sum::<usize>(), 81);
}

#[test]
fn reasons_have_the_names_and_the_precedence_of_tigerbeetle() {
    let json: serde_json::Value = serde_json::from_str(RESULTS).unwrap();
    let theirs: Vec<_> = json["results"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let ours = Refusal::ALL.iter().filter(|reason| **reason != Refusal::PendingTransferNotDue);
    let place = |reason: &Refusal| theirs.iter().position(|name| *name == reason.name());
    let places: Vec<_> = ours.map(|reason| place(reason).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(places.len(), Refusal::ALL.len() - 1);
    for reason in Refusal::ALL {
        assert_eq!(Refusal::from_code(reason.code()), Some(*reason));
        assert_eq!(reason.to_string(), reason.name());
    }
}
