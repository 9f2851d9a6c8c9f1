//! Journals that somebody has been at.

use ledger::{
    Balancing, Entry, Event, Fact, Head, Kind, Ledger, Micros, Refusal, Sealed, Settle, Timestamp, Transfer,
    TransferId, Wrong, verify,
};
use proptest::{prelude::*, sample::Index};
use sha2::{Digest, Sha256};

use crate::play::{BANK, Step, USERS, opening, steps, timed, transfer};

fn journal(steps: &[Step]) -> (Ledger, Vec<Entry>) {
    let mut ledger = Ledger::in_memory();
    for (now, step) in timed(steps) {
        if step.is_swept {
            for hold in ledger.due(now, usize::MAX) {
                ledger.apply(now, &[Event::Expire(hold)]).unwrap();
            }
        }
        ledger.apply(now, &step.chain).unwrap();
    }
    let entries = ledger.take_effects().entries;
    (ledger, entries)
}

fn sealed(entries: &[Entry]) -> Vec<Sealed> {
    entries.iter().map(Into::into).collect()
}

/// Makes all hashes anew, as somebody would who knows how.
fn reseal(entries: &mut [Entry]) -> Head {
    let mut before = [0; 32];
    for entry in entries.iter_mut() {
        before = Sha256::new().chain_update(before).chain_update(entry.bytes()).finalize().into();
        entry.hash = before;
    }
    entries.last().map(Entry::head).unwrap_or_default()
}

/// Where the first wrong entry is found.
fn found(journal: &[Sealed], head: &Head) -> Option<u64> {
    verify(journal.iter().cloned(), Some(head)).err().map(|fault| fault.position)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn prop_a_journal_that_was_left_alone_gives_every_balance(steps in steps()) {
        let (ledger, entries) = journal(&steps);
        let verified = verify(sealed(&entries), Some(&ledger.head())).unwrap();
        prop_assert_eq!(verified.head, ledger.head());
        let (debits, credits) = verified.posted();
        prop_assert_eq!(debits, credits);
        let mut accounts: Vec<_> = ledger.accounts().copied().collect();
        accounts.sort_by_key(|state| state.account.id);
        prop_assert_eq!(verified.accounts, accounts);
    }

    #[test]
    fn prop_one_changed_bit_is_found_where_it_is(steps in steps(), at in any::<Index>(), bit in any::<Index>()) {
        let (ledger, entries) = journal(&steps);
        let mut changed = sealed(&entries);
        let at = at.index(changed.len());
        let bits = changed[at].bytes.len() * 8;
        match bit.index(bits + 256) {
            bit if bit < bits => changed[at].bytes[bit / 8] ^= 1 << (bit % 8),
            bit => changed[at].hash[(bit - bits) / 8] ^= 1 << (bit % 8),
        }
        prop_assert_eq!(found(&changed, &ledger.head()), Some(at as u64 + 1));
    }

    #[test]
    fn prop_an_entry_that_is_dropped_repeated_or_elsewhere_is_found_where_it_is(
        steps in steps(), first in any::<Index>(), second in any::<Index>(),
    ) {
        let (ledger, entries) = journal(&steps);
        let (head, whole) = (ledger.head(), sealed(&entries));
        let at = first.index(whole.len());

        let mut dropped = whole.clone();
        dropped.remove(at);
        prop_assert_eq!(found(&dropped, &head), Some(at as u64 + 1));

        let mut repeated = whole.clone();
        repeated.insert(at, whole[at].clone());
        prop_assert_eq!(found(&repeated, &head), Some(at as u64 + 2));

        let other = second.index(whole.len());
        let mut swapped = whole;
        swapped.swap(at, other);
        let want = if at == other { None } else { Some(at.min(other) as u64 + 1) };
        prop_assert_eq!(found(&swapped, &head), want);
    }

    #[test]
    fn prop_whoever_makes_all_hashes_anew_does_not_meet_the_head_that_was_kept(
        steps in steps(), at in any::<Index>(), less in 1..50_u64,
    ) {
        let (ledger, mut entries) = journal(&steps);
        let amounts: Vec<_> = entries.iter_mut().filter_map(|entry| match &mut entry.fact {
            Fact::Done(Event::Transfer(transfer)) => Some(&mut transfer.amount),
            _ => None,
        }).collect();
        let at = at.index(amounts.len());
        for (n, amount) in amounts.into_iter().enumerate() {
            if n == at {
                *amount = Micros::new(amount.get().abs_diff(less)).unwrap();
            }
        }
        let forged = reseal(&mut entries);
        let is_changed = forged != ledger.head();
        prop_assert_eq!(found(&sealed(&entries), &ledger.head()).is_some(), is_changed);
    }

    #[test]
    fn prop_bytes_are_an_entry_only_if_the_entry_gives_these_bytes(steps in steps(), noise in any::<Vec<u8>>(), at in any::<Index>(), byte in any::<u8>()) {
        let (_, entries) = journal(&steps);
        for entry in &entries {
            let bytes = entry.bytes();
            prop_assert_eq!(Entry::decode(&bytes, entry.hash), Ok(*entry));
            let mut other = bytes;
            let at = at.index(other.len());
            other[at] = byte;
            if let Ok(read) = Entry::decode(&other, entry.hash) {
                prop_assert_eq!(read.bytes(), other);
            }
        }
        if let Ok(read) = Entry::decode(&noise, [0; 32]) {
            prop_assert_eq!(read.bytes(), noise);
        }
    }
}

/// What a forger wrote in place of the last entry, with hashes that are right.
fn check_forged(last: Event, forged: Fact, want: &Wrong) {
    let mut ledger = Ledger::in_memory();
    let hold = transfer(5000, USERS[0], BANK, 60, Kind::Hold { timeout_s: 60 });
    for chain in [&opening().chain[..], &[hold], &[last]] {
        assert!(ledger.apply(Timestamp::ZERO, chain).unwrap().iter().all(Result::is_ok));
    }
    let mut entries = ledger.take_effects().entries;
    let position = entries.len() as u64;
    entries.last_mut().unwrap().fact = forged;
    reseal(&mut entries);
    let fault = verify(sealed(&entries), None).unwrap_err();
    assert_eq!((fault.position, &fault.why), (position, want), "{fault}");
}

#[test]
fn what_cannot_have_happened_is_found_though_every_hash_is_right() {
    let settle = |id, hold, amount| {
        let (id, hold) = (TransferId(id), TransferId(hold));
        Event::Settle(Settle { id, hold, amount: Micros::new(amount), reference: 0 })
    };
    let last = settle(5001, 5000, 30);
    let refused = |why| Wrong::Refused(why);
    let more = settle(5001, 5000, 61);
    check_forged(last, Fact::Done(more), &refused(Refusal::ExceedsPendingTransferAmount));
    check_forged(last, Fact::Done(settle(5001, 4000, 30)), &refused(Refusal::PendingTransferNotFound));
    let overdraft = transfer(5001, USERS[0], BANK, 41, Kind::Post);
    check_forged(last, Fact::Done(overdraft), &refused(Refusal::ExceedsCredits));
    // What was done says what it came to: 40 was there, and not 41.
    let Event::Transfer(overdraft) = overdraft else { unreachable!() };
    let cut = Transfer { balancing: Balancing { debit: true, credit: false }, ..overdraft };
    check_forged(last, Fact::Done(Event::Transfer(cut)), &Wrong::Different);
    check_forged(last, Fact::Done(transfer(5000, USERS[0], BANK, 60, Kind::Hold { timeout_s: 60 })), &Wrong::Different);
    check_forged(last, Fact::Done(Event::Expire(TransferId(5000))), &refused(Refusal::PendingTransferNotDue));
    let spent = Fact::Refused { id: TransferId(5000), why: Refusal::ExceedsCredits };
    check_forged(last, spent, &Wrong::Different);
    let no_reason = Fact::Refused { id: TransferId(5001), why: Refusal::CodeMustNotBeZero };
    check_forged(last, no_reason, &Wrong::Different);
}

#[test]
fn an_entry_that_is_older_than_the_one_before_it_is_wrong() {
    let (_, mut entries) = journal(&[opening()]);
    entries.last_mut().unwrap().time = Timestamp::ZERO;
    reseal(&mut entries);
    assert_eq!(verify(sealed(&entries), None).unwrap_err().why, Wrong::Time);
}

#[test]
fn a_journal_that_goes_on_behind_the_head_that_was_kept_is_right() {
    let (mut ledger, entries) = journal(&[opening()]);
    let kept = ledger.head();
    ledger.apply(Timestamp::MAX, &[transfer(5000, USERS[0], BANK, 1, Kind::Post)]).unwrap();
    let all = [&entries[..], &ledger.take_effects().entries].concat();
    assert_eq!(verify(sealed(&all), Some(&kept)).unwrap().head, ledger.head());
    assert_eq!(verify(sealed(&all[..3]), Some(&kept)).unwrap_err().why, Wrong::End);
    assert_eq!(verify([], None).unwrap().head, Head::default());
}
