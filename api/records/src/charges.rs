//! Charges: set aside what a request may cost, then take what it did cost and write its row of usage, or free it.
//!
//! A charge holds from the balance, from the allowance of 30 days, and from that of its key if the key has a cap: one chain,
//! so that none of them is ever overshot, whatever comes at once.

use ledger::{AccountId, Event, Fact, Micros, Outcome, Record, Refusal, State, Timestamp};

use crate::{
    access::{Access, Counter},
    allowance::{self, Window},
    at_most,
    change::Write,
    chart::{self, KeyId, UserId},
    error::{Conflict, RecordsError},
    kept::{self, Kept},
    keys::Keys,
    text::{RequestName, Word},
    usage::{Attempt, OPEN, Usage, UsageRecords},
    users::Users,
};

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Payer {
    /// From whose balance.
    pub user: UserId,
    /// With which key.
    pub key: Option<KeyId>,
    /// Whether that key has a cap of its own, as its row says.
    pub has_key_cap: bool,
}

/// Money that is set aside for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What for.
    pub request: RequestName,
    /// Whose.
    pub payer: Payer,
    /// How much.
    pub amount: Micros,
    /// Until when, about: the ledger's own clock decides.
    pub expires: Timestamp,
}

/// Why nothing is set aside.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The balance is too small.
    #[error("the balance has {} micros", available.get())]
    InsufficientFunds {
        /// What is there.
        available: Micros,
    },
    /// The cap of 30 days is reached.
    #[error("the cap of 30 days leaves {} micros", .0.remaining.get())]
    UsageCapReached(Window),
    /// The key's own cap is reached.
    #[error("the cap of the key leaves {} micros", remaining.get())]
    KeyCapReached {
        /// What it can still spend.
        remaining: Micros,
    },
    /// It could not be done.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// What a settlement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What was charged.
    pub charged: Micros,
    /// Whether that is less than was asked for: no more than what was held.
    pub is_clamped: bool,
    /// Whether it had been settled before.
    pub is_repeat: bool,
}

/// Why nothing is charged.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The hold was over before: its money is free again. The row of usage is written, with no cost and the status
    /// `expired`.
    #[error("the hold has expired")]
    Expired,
    /// The hold was voided.
    #[error("the hold was voided")]
    Voided,
    /// It could not be done.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// The charges. Cheap to clone.
#[derive(Clone)]
pub struct Charges {
    pub(crate) access: Access,
}

/// The accounts that a charge takes from, in the order in which they refuse.
#[derive(Clone, Copy)]
enum Leg {
    Balance,
    Allowance,
    Key(KeyId),
}

impl Charges {
    /// Sets `amount` aside for `timeout_s` seconds, at least one. The same request again, with the same amount, is the same
    /// hold, or is refused as it was.
    ///
    /// Where an `attempt` begins with it, its row is there from now on. It is [`OPEN`](crate::OPEN) until [`Self::settle`],
    /// [`Self::void`] or [`Self::note`] tell its end, and [`LOST`](crate::LOST) if nobody does before the hold expires.
    ///
    /// # Errors
    /// See [`HoldError`]; [`Conflict::Different`] if the request has held another amount, [`Conflict::UnknownUser`].
    pub async fn hold(
        &self,
        payer: Payer,
        request: RequestName,
        amount: Micros,
        timeout_s: u32,
        attempt: Option<Attempt>,
    ) -> Result<Hold, HoldError> {
        at_most(chart::AMOUNT_MAX, amount)?;
        allowance::align(&self.access, payer.user).await?;
        let timeout_s = timeout_s.max(1);
        let expires = self.access.now().after(timeout_s).unwrap_or(Timestamp::MAX);
        let hold = Hold { request, payer, amount, expires };
        let mut writes = Vec::new();
        if let Some(attempt) = attempt {
            writes.push(self.begun(&hold, attempt).await?);
        }
        let events = hold.legs().map(|leg| {
            let to = if matches!(leg, Leg::Balance) { chart::REVENUE } else { chart::POOL };
            chart::hold(&hold.cause("hold", leg), leg.account(payer.user), to, amount, timeout_s)
        });
        let outcomes = self.access.change(writes, events.collect()).await?;
        let Some((leg, why)) =
            hold.legs().zip(&outcomes).find_map(|(leg, outcome)| refused(outcome).map(|why| (leg, why)))
        else {
            return Ok(hold);
        };
        Err(self.refusal(payer, leg, why).await?)
    }

    async fn refusal(&self, payer: Payer, leg: Leg, why: Refusal) -> Result<HoldError, RecordsError> {
        let is_short = matches!(why, Refusal::ExceedsCredits | Refusal::IdAlreadyFailed);
        Ok(match leg {
            _ if !is_short => match why {
                Refusal::DebitAccountNotFound if matches!(leg, Leg::Key(_)) => Conflict::UnknownKey.into(),
                Refusal::DebitAccountNotFound => Conflict::UnknownUser.into(),
                _ => Conflict::Different.into(),
            },
            Leg::Balance => {
                let users = Users { access: self.access.clone() };
                HoldError::InsufficientFunds { available: users.funds(payer.user).await?.available }
            }
            Leg::Allowance => {
                let usage = UsageRecords { access: self.access.clone() };
                HoldError::UsageCapReached(usage.window(payer.user).await?)
            }
            Leg::Key(key) => {
                let keys = Keys { access: self.access.clone() };
                HoldError::KeyCapReached { remaining: keys.remaining(key).await?.unwrap_or_default() }
            }
        })
    }

    /// Takes `amount`, or all that is held if that is less, frees the rest, and writes the row of usage and the kept answer,
    /// all or nothing. Asked again for the same attempt, it says what was charged.
    ///
    /// # Errors
    /// See [`SettleError`]; [`Conflict::Kept`] if another answer is kept under the same name,
    /// [`Conflict::Different`] if the attempt's row was written without a charge, or the request was settled for another
    /// attempt: then nothing is charged.
    pub async fn settle(
        &self,
        hold: &Hold,
        amount: Micros,
        attempt: Attempt,
        kept: Option<Kept>,
    ) -> Result<Settlement, SettleError> {
        let charged = amount.min(hold.amount);
        let usage = self.usage(hold, charged, attempt).await?;
        let mut writes = usage.end();
        writes.extend(kept::write(kept.as_ref())?);
        let events =
            hold.legs().map(|leg| chart::settle(&hold.cause("settle", leg), &hold.cause("hold", leg), charged));
        let is_clamped = charged < amount;
        let answer = match self.access.change(writes, events.collect()).await {
            Err(RecordsError::Conflict(Conflict::Repeated)) => return self.settled(hold, amount).await,
            answer => answer?,
        };
        match answer.iter().find_map(refused) {
            None if answer.first().is_some_and(|first| first.is_ok_and(|done| done.is_repeat)) => {
                Err(RecordsError::from(Conflict::Different).into())
            }
            None => Ok(Settlement { charged, is_clamped, is_repeat: false }),
            Some(Refusal::PendingTransferExpired) => {
                let mut attempt = usage.attempt;
                attempt.status = Word::cut("expired");
                self.note(hold, attempt).await?;
                Err(SettleError::Expired)
            }
            Some(Refusal::PendingTransferAlreadyVoided) => Err(SettleError::Voided),
            Some(_) => Err(RecordsError::from(Conflict::Different).into()),
        }
    }

    /// What came of a request whose row is there.
    async fn settled(&self, hold: &Hold, amount: Micros) -> Result<Settlement, SettleError> {
        let record = self.access.transfer(chart::named(&hold.cause("settle", Leg::Balance))).await?;
        match record {
            Some(Record { fact: Fact::Done(Event::Settle(settle)), .. }) => {
                let charged = settle.amount.unwrap_or(hold.amount);
                Ok(Settlement { charged, is_clamped: charged < amount, is_repeat: true })
            }
            _ => {
                let held = self.access.transfer(chart::named(&hold.cause("hold", Leg::Balance))).await?;
                // Over by the clock is over, whether or not somebody has come by to expire it.
                let is_over = held.and_then(|held| held.expires_at()).is_some_and(|at| at <= self.access.now());
                match held.map(|held| held.state) {
                    Some(State::Voided) => Err(SettleError::Voided),
                    Some(State::Expired) => Err(SettleError::Expired),
                    Some(State::Held) if is_over => Err(SettleError::Expired),
                    _ => Err(RecordsError::from(Conflict::Different).into()),
                }
            }
        }
    }

    /// Frees what is held, and writes a row of usage without cost if there was an attempt. Asked again, or when the hold is
    /// over already, it changes nothing.
    ///
    /// # Errors
    /// [`Conflict::Different`] if it was settled, or if it cannot be written.
    pub async fn void(&self, hold: &Hold, attempt: Option<Attempt>) -> Result<(), RecordsError> {
        let mut writes = Vec::new();
        if let Some(attempt) = attempt.clone() {
            writes = self.usage(hold, Micros::ZERO, attempt).await?.end();
        }
        let events = hold.legs().map(|leg| chart::void(&hold.cause("void", leg), &hold.cause("hold", leg)));
        let outcomes = match self.access.change(writes, events.collect()).await {
            // The row is there: of this void, or of a note before it.
            Err(RecordsError::Conflict(Conflict::Repeated)) => return Box::pin(self.void(hold, None)).await,
            outcomes => outcomes?,
        };
        match outcomes.iter().find_map(refused) {
            None | Some(Refusal::PendingTransferExpired | Refusal::PendingTransferNotFound) => {}
            Some(_) => return Err(Conflict::Different.into()),
        }
        match attempt {
            // Nothing of the chain was left to do, and so its rows were not written.
            Some(attempt) if outcomes.iter().any(Result::is_err) => self.note(hold, attempt).await,
            _ => Ok(()),
        }
    }

    /// Writes the row of an attempt that is not charged, while its hold goes on. Asked again, it changes nothing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn note(&self, hold: &Hold, attempt: Attempt) -> Result<(), RecordsError> {
        let writes = self.usage(hold, Micros::ZERO, attempt).await?.end();
        match self.access.write(writes).await {
            Err(RecordsError::Conflict(Conflict::Repeated)) => Ok(()),
            written => written,
        }
    }

    /// Writes the row of a further attempt that begins for a hold. Asked again, it changes nothing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn begin(&self, hold: &Hold, attempt: Attempt) -> Result<(), RecordsError> {
        self.access.write(vec![self.begun(hold, attempt).await?]).await
    }

    async fn begun(&self, hold: &Hold, attempt: Attempt) -> Result<Write, RecordsError> {
        let attempt = Attempt { status: Word::cut(OPEN), ..attempt };
        Ok(self.usage(hold, Micros::ZERO, attempt).await?.begin(hold.expires))
    }

    async fn usage(&self, hold: &Hold, cost: Micros, attempt: Attempt) -> Result<Usage, RecordsError> {
        let (id, created) = (self.access.next(Counter::Usage).await?, self.access.now());
        let Hold { request, payer: Payer { user, key, .. }, .. } = hold;
        Ok(Usage { id, user: *user, key: *key, request: request.clone(), created, cost, attempt })
    }
}

impl Hold {
    fn legs(&self) -> impl Iterator<Item = Leg> {
        let key = self.payer.key.filter(|_| self.payer.has_key_cap);
        [Leg::Balance, Leg::Allowance].into_iter().chain(key.map(Leg::Key))
    }

    fn cause(&self, what: &str, leg: Leg) -> String {
        let leg = match leg {
            Leg::Balance => "balance",
            Leg::Allowance => "allowance",
            Leg::Key(_) => "key",
        };
        format!("{what}:{}:{leg}", self.request)
    }
}

impl Leg {
    fn account(self, user: UserId) -> AccountId {
        match self {
            Self::Balance => chart::balance(user),
            Self::Allowance => chart::allowance(user),
            Self::Key(key) => chart::key_allowance(key),
        }
    }
}

impl From<Conflict> for HoldError {
    fn from(conflict: Conflict) -> Self {
        Self::Records(conflict.into())
    }
}

/// Why an event itself was refused; not that another of its chain was.
fn refused(outcome: &Outcome) -> Option<Refusal> {
    outcome.err().filter(|why| *why != Refusal::LinkedEventFailed)
}
