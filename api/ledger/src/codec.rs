//! The canonical bytes of a journal entry: a version, then fixed fields in order, all big-endian. There is one way to
//! write an entry, and nothing else is read.

use crate::{
    account::{Account, AccountId, Limit},
    event::{Balancing, Event, Fact, Kind, Settle, Transfer, TransferId, Void},
    money::{Micros, Timestamp},
    refusal::Refusal,
};

const VERSION: u8 = 1;

/// The bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early or too late.
    #[error("{bytes} bytes are not the length of such an entry")]
    Length {
        /// How many there are.
        bytes: usize,
    },
    /// A field has a value that is never written.
    #[error("no valid {field}")]
    Field {
        /// Which.
        field: &'static str,
    },
}

pub(crate) fn encode(sequence: u64, time: Timestamp, fact: &Fact) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.push(VERSION);
    out.extend(sequence.to_be_bytes());
    out.extend(time.nanos().to_be_bytes());
    match fact {
        Fact::Done(Event::Open(account)) => {
            out.push(1);
            out.extend(account.id.0.to_be_bytes());
            out.extend(account.ledger.to_be_bytes());
            out.extend(account.code.to_be_bytes());
            out.extend(account.reference.to_be_bytes());
            out.push(match account.limit {
                Limit::None => 0,
                Limit::DebitsMustNotExceedCredits => 1,
                Limit::CreditsMustNotExceedDebits => 2,
            });
        }
        Fact::Done(Event::Transfer(transfer)) => {
            out.push(2);
            out.extend(transfer.id.0.to_be_bytes());
            out.extend(transfer.debit.0.to_be_bytes());
            out.extend(transfer.credit.0.to_be_bytes());
            out.extend(transfer.amount.get().to_be_bytes());
            out.push(u8::from(transfer.balancing.debit) | u8::from(transfer.balancing.credit) << 1);
            match transfer.kind {
                Kind::Post => out.push(0),
                Kind::Hold { timeout_s } => {
                    out.push(1);
                    out.extend(timeout_s.to_be_bytes());
                }
            }
            out.extend(transfer.ledger.to_be_bytes());
            out.extend(transfer.code.to_be_bytes());
            out.extend(transfer.reference.to_be_bytes());
        }
        Fact::Done(Event::Settle(settle)) => {
            out.push(3);
            out.extend(settle.id.0.to_be_bytes());
            out.extend(settle.hold.0.to_be_bytes());
            // What was done always says how much; only a request leaves it open.
            out.extend(settle.amount.map_or(u64::MAX, Micros::get).to_be_bytes());
            out.extend(settle.reference.to_be_bytes());
        }
        Fact::Done(Event::Void(void)) => {
            out.push(4);
            out.extend(void.id.0.to_be_bytes());
            out.extend(void.hold.0.to_be_bytes());
            out.extend(void.reference.to_be_bytes());
        }
        Fact::Done(Event::Expire(hold)) => {
            out.push(5);
            out.extend(hold.0.to_be_bytes());
        }
        Fact::Refused { id, why } => {
            out.push(6);
            out.extend(id.0.to_be_bytes());
            out.push(why.code());
        }
    }
    out
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, Timestamp, Fact), DecodeError> {
    let mut fields = Fields { rest: bytes, bytes: bytes.len() };
    let field = |field| DecodeError::Field { field };
    if fields.u8()? != VERSION {
        return Err(field("version"));
    }
    let sequence = fields.u64()?;
    let time = Timestamp::new(fields.u64()?).ok_or(field("time"))?;
    let fact = match fields.u8()? {
        1 => Fact::Done(Event::Open(Account {
            id: AccountId(fields.u128()?),
            ledger: fields.u32()?,
            code: fields.u16()?,
            reference: fields.u128()?,
            limit: match fields.u8()? {
                0 => Limit::None,
                1 => Limit::DebitsMustNotExceedCredits,
                2 => Limit::CreditsMustNotExceedDebits,
                _ => return Err(field("limit")),
            },
        })),
        2 => Fact::Done(Event::Transfer(Transfer {
            id: TransferId(fields.u128()?),
            debit: AccountId(fields.u128()?),
            credit: AccountId(fields.u128()?),
            amount: Micros::new(fields.u64()?).ok_or(field("amount"))?,
            balancing: match fields.u8()? {
                bits @ 0..=3 => Balancing { debit: bits & 1 != 0, credit: bits & 2 != 0 },
                _ => return Err(field("balancing")),
            },
            kind: match fields.u8()? {
                0 => Kind::Post,
                1 => Kind::Hold { timeout_s: fields.u32()? },
                _ => return Err(field("kind")),
            },
            ledger: fields.u32()?,
            code: fields.u16()?,
            reference: fields.u128()?,
        })),
        3 => Fact::Done(Event::Settle(Settle {
            id: TransferId(fields.u128()?),
            hold: TransferId(fields.u128()?),
            amount: Some(Micros::new(fields.u64()?).ok_or(field("amount"))?),
            reference: fields.u128()?,
        })),
        4 => Fact::Done(Event::Void(Void {
            id: TransferId(fields.u128()?),
            hold: TransferId(fields.u128()?),
            reference: fields.u128()?,
        })),
        5 => Fact::Done(Event::Expire(TransferId(fields.u128()?))),
        6 => Fact::Refused {
            id: TransferId(fields.u128()?),
            why: Refusal::from_code(fields.u8()?).ok_or(field("reason"))?,
        },
        _ => return Err(field("tag")),
    };
    if fields.rest.is_empty() { Ok((sequence, time, fact)) } else { Err(fields.length()) }
}

struct Fields<'a> {
    rest: &'a [u8],
    bytes: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(self.length())?;
        self.rest = rest;
        Ok(*field)
    }

    fn length(&self) -> DecodeError {
        DecodeError::Length { bytes: self.bytes }
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_be_bytes)
    }

    fn u128(&mut self) -> Result<u128, DecodeError> {
        self.take().map(u128::from_be_bytes)
    }
}
