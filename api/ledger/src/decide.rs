//! The rules: whether an event may happen, and how exactly. Reads the book and changes nothing.

use crate::{
    account::{Account, Balance, Limit, Side},
    book::{AccountState, Book},
    error::Stop,
    event::{Event, Fact, Kind, Record, Settle, State, Transfer, TransferId, Void},
    money::{Micros, Timestamp},
    refusal::Refusal,
};

/// What the rules say of an event that is not refused.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It may happen, like this.
    New(Event),
    /// It has happened, with this amount.
    Repeat(Micros),
}

pub(crate) fn decide(book: &Book, event: &Event, now: Timestamp) -> Result<Verdict, Stop> {
    match event {
        Event::Open(account) => open(book, account),
        Event::Transfer(transfer) => move_or_hold(book, transfer, now),
        Event::Settle(settle) => settle_hold(book, settle, now),
        Event::Void(void) => void_hold(book, void, now),
        Event::Expire(hold) => expire(book, *hold, now),
    }
}

fn open(book: &Book, account: &Account) -> Result<Verdict, Stop> {
    check_id(account.id.0, Refusal::IdMustNotBeZero, Refusal::IdMustNotBeIntMax)?;
    if let Some(AccountState { account: known, .. }) = book.account(account.id)? {
        refuse_if(known.limit != account.limit, Refusal::ExistsWithDifferentFlags)?;
        refuse_if(known.reference != account.reference, Refusal::ExistsWithDifferentUserData128)?;
        refuse_if(known.ledger != account.ledger, Refusal::ExistsWithDifferentLedger)?;
        refuse_if(known.code != account.code, Refusal::ExistsWithDifferentCode)?;
        return Ok(Verdict::Repeat(Micros::ZERO));
    }
    refuse_if(account.ledger == 0, Refusal::LedgerMustNotBeZero)?;
    refuse_if(account.code == 0, Refusal::CodeMustNotBeZero)?;
    Ok(Verdict::New(Event::Open(*account)))
}

fn move_or_hold(book: &Book, transfer: &Transfer, now: Timestamp) -> Result<Verdict, Stop> {
    if let Some(known) = known(book, transfer.id)? {
        return repeated_transfer(known, transfer);
    }
    let (debit, credit) = (transfer.debit, transfer.credit);
    check_id(debit.0, Refusal::DebitAccountIdMustNotBeZero, Refusal::DebitAccountIdMustNotBeIntMax)?;
    check_id(credit.0, Refusal::CreditAccountIdMustNotBeZero, Refusal::CreditAccountIdMustNotBeIntMax)?;
    refuse_if(debit == credit, Refusal::AccountsMustBeDifferent)?;
    refuse_if(transfer.ledger == 0, Refusal::LedgerMustNotBeZero)?;
    refuse_if(transfer.code == 0, Refusal::CodeMustNotBeZero)?;
    let debit = book.account(debit)?.ok_or(Refusal::DebitAccountNotFound)?;
    let credit = book.account(credit)?.ok_or(Refusal::CreditAccountNotFound)?;
    refuse_if(debit.account.ledger != credit.account.ledger, Refusal::AccountsMustHaveTheSameLedger)?;
    refuse_if(transfer.ledger != debit.account.ledger, Refusal::TransferMustHaveTheSameLedgerAsAccounts)?;

    let mut amount = transfer.amount;
    if transfer.balancing.debit {
        amount = amount.min(debit.balance.room(Side::Debit));
    }
    if transfer.balancing.credit {
        amount = amount.min(credit.balance.room(Side::Credit));
    }
    check_overflow(&debit.balance, &credit.balance, transfer.kind, amount)?;
    if let Kind::Hold { timeout_s } = transfer.kind {
        refuse_if(now.after(timeout_s).is_none(), Refusal::OverflowsTimeout)?;
    }
    let exceeds = |state: &AccountState, limit, side| state.account.limit == limit && amount > state.balance.room(side);
    refuse_if(exceeds(debit, Limit::DebitsMustNotExceedCredits, Side::Debit), Refusal::ExceedsCredits)?;
    refuse_if(exceeds(credit, Limit::CreditsMustNotExceedDebits, Side::Credit), Refusal::ExceedsDebits)?;
    Ok(Verdict::New(Event::Transfer(Transfer { amount, ..*transfer })))
}

fn check_overflow(debit: &Balance, credit: &Balance, kind: Kind, amount: Micros) -> Result<(), Refusal> {
    let overflows = |sum: Micros| sum.checked_add(amount).is_none();
    if matches!(kind, Kind::Hold { .. }) {
        refuse_if(overflows(debit.debits_pending), Refusal::OverflowsDebitsPending)?;
        refuse_if(overflows(credit.credits_pending), Refusal::OverflowsCreditsPending)?;
    }
    refuse_if(overflows(debit.debits_posted), Refusal::OverflowsDebitsPosted)?;
    refuse_if(overflows(credit.credits_posted), Refusal::OverflowsCreditsPosted)?;
    // Also for what is held, so that no settlement can overflow later.
    let total = |(pending, posted): (Micros, Micros)| pending.checked_add(posted);
    refuse_if(total(debit.side(Side::Debit)).is_none_or(overflows), Refusal::OverflowsDebits)?;
    refuse_if(total(credit.side(Side::Credit)).is_none_or(overflows), Refusal::OverflowsCredits)
}

fn settle_hold(book: &Book, settle: &Settle, now: Timestamp) -> Result<Verdict, Stop> {
    if let Some(known) = known(book, settle.id)? {
        return repeated_settle(book, known, settle);
    }
    let (record, held) = hold_to_end(book, settle.id, settle.hold)?;
    let amount = settle.amount.unwrap_or(held.amount);
    refuse_if(amount > held.amount, Refusal::ExceedsPendingTransferAmount)?;
    check_open(record, now)?;
    let reference = if settle.reference == 0 { held.reference } else { settle.reference };
    Ok(Verdict::New(Event::Settle(Settle { amount: Some(amount), reference, ..*settle })))
}

fn void_hold(book: &Book, void: &Void, now: Timestamp) -> Result<Verdict, Stop> {
    if let Some(known) = known(book, void.id)? {
        return repeated_void(book, known, void);
    }
    let (record, held) = hold_to_end(book, void.id, void.hold)?;
    check_open(record, now)?;
    let reference = if void.reference == 0 { held.reference } else { void.reference };
    Ok(Verdict::New(Event::Void(Void { reference, ..*void })))
}

fn expire(book: &Book, hold: TransferId, now: Timestamp) -> Result<Verdict, Stop> {
    let record = book.transfer(hold)?.ok_or(Refusal::PendingTransferNotFound)?;
    held(record).ok_or(Refusal::PendingTransferNotPending)?;
    match check_open(record, now) {
        Err(Refusal::PendingTransferExpired) if record.state == State::Held => Ok(Verdict::New(Event::Expire(hold))),
        Err(refusal) => Err(refusal.into()),
        Ok(()) => Err(Refusal::PendingTransferNotDue.into()),
    }
}

/// What is known of a transfer id that may be used.
fn known(book: &Book, id: TransferId) -> Result<Option<&Event>, Stop> {
    check_id(id.0, Refusal::IdMustNotBeZero, Refusal::IdMustNotBeIntMax)?;
    match book.transfer(id)? {
        None => Ok(None),
        Some(Record { fact: Fact::Done(event), .. }) => Ok(Some(event)),
        Some(Record { fact: Fact::Refused { .. }, .. }) => Err(Refusal::IdAlreadyFailed.into()),
    }
}

/// The hold that the transfer `id` wants to end.
fn hold_to_end(book: &Book, id: TransferId, hold: TransferId) -> Result<(&Record, &Transfer), Stop> {
    check_id(hold.0, Refusal::PendingIdMustNotBeZero, Refusal::PendingIdMustNotBeIntMax)?;
    refuse_if(hold == id, Refusal::PendingIdMustBeDifferent)?;
    let record = book.transfer(hold)?.ok_or(Refusal::PendingTransferNotFound)?;
    if matches!(record.fact, Fact::Refused { .. }) {
        return Err(Refusal::PendingTransferNotFound.into());
    }
    Ok((record, held(record).ok_or(Refusal::PendingTransferNotPending)?))
}

fn held(record: &Record) -> Option<&Transfer> {
    match &record.fact {
        Fact::Done(Event::Transfer(transfer)) if matches!(transfer.kind, Kind::Hold { .. }) => Some(transfer),
        _ => None,
    }
}

fn check_open(record: &Record, now: Timestamp) -> Result<(), Refusal> {
    match record.state {
        State::Settled => Err(Refusal::PendingTransferAlreadyPosted),
        State::Voided => Err(Refusal::PendingTransferAlreadyVoided),
        State::Expired => Err(Refusal::PendingTransferExpired),
        // Over by the clock is over, whether or not somebody has come by to expire it.
        _ => refuse_if(record.expires_at().is_some_and(|at| at <= now), Refusal::PendingTransferExpired),
    }
}

fn repeated_transfer(known: &Event, transfer: &Transfer) -> Result<Verdict, Stop> {
    let Event::Transfer(known) = known else { return Err(Refusal::ExistsWithDifferentFlags.into()) };
    let different = match (known.kind, transfer.kind) {
        (Kind::Hold { timeout_s: known }, Kind::Hold { timeout_s }) if known != timeout_s => {
            Some(Refusal::ExistsWithDifferentTimeout)
        }
        (Kind::Hold { .. }, Kind::Hold { .. }) | (Kind::Post, Kind::Post) => None,
        _ => Some(Refusal::ExistsWithDifferentFlags),
    };
    refuse_if(known.balancing != transfer.balancing, Refusal::ExistsWithDifferentFlags)?;
    if let Some(different) = different {
        return Err(different.into());
    }
    refuse_if(known.debit != transfer.debit, Refusal::ExistsWithDifferentDebitAccountId)?;
    refuse_if(known.credit != transfer.credit, Refusal::ExistsWithDifferentCreditAccountId)?;
    // Of a balancing transfer only the amount that it came to is kept: it can have been any larger one.
    let is_amount_same =
        if known.balancing.is_any() { transfer.amount >= known.amount } else { transfer.amount == known.amount };
    refuse_if(!is_amount_same, Refusal::ExistsWithDifferentAmount)?;
    refuse_if(known.reference != transfer.reference, Refusal::ExistsWithDifferentUserData128)?;
    refuse_if(known.ledger != transfer.ledger, Refusal::ExistsWithDifferentLedger)?;
    refuse_if(known.code != transfer.code, Refusal::ExistsWithDifferentCode)?;
    Ok(Verdict::Repeat(known.amount))
}

fn repeated_settle(book: &Book, known: &Event, settle: &Settle) -> Result<Verdict, Stop> {
    let Event::Settle(known) = known else { return Err(Refusal::ExistsWithDifferentFlags.into()) };
    refuse_if(known.hold != settle.hold, Refusal::ExistsWithDifferentPendingId)?;
    let (_, held) = hold_to_end(book, settle.id, settle.hold)?;
    let known_amount = known.amount.unwrap_or(held.amount);
    refuse_if(known_amount != settle.amount.unwrap_or(held.amount), Refusal::ExistsWithDifferentAmount)?;
    let reference = if settle.reference == 0 { held.reference } else { settle.reference };
    refuse_if(known.reference != reference, Refusal::ExistsWithDifferentUserData128)?;
    Ok(Verdict::Repeat(known_amount))
}

fn repeated_void(book: &Book, known: &Event, void: &Void) -> Result<Verdict, Stop> {
    let Event::Void(known) = known else { return Err(Refusal::ExistsWithDifferentFlags.into()) };
    refuse_if(known.hold != void.hold, Refusal::ExistsWithDifferentPendingId)?;
    let (_, held) = hold_to_end(book, void.id, void.hold)?;
    let reference = if void.reference == 0 { held.reference } else { void.reference };
    refuse_if(known.reference != reference, Refusal::ExistsWithDifferentUserData128)?;
    Ok(Verdict::Repeat(held.amount))
}

fn check_id(id: u128, zero: Refusal, max: Refusal) -> Result<(), Refusal> {
    refuse_if(id == 0, zero)?;
    refuse_if(id == u128::MAX, max)
}

fn refuse_if(is_wrong: bool, refusal: Refusal) -> Result<(), Refusal> {
    if is_wrong { Err(refusal) } else { Ok(()) }
}
