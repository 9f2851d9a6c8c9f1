//! Payments through Stripe: credited once for each session, taken back when they are refunded or disputed, in whatever order
//! and however often it is told.
//!
//! What is taken back is owed first, and then paid from the balance as far as that goes. So the balance is never below zero,
//! and a later payment pays what is still owed.

use ledger::{Event, Micros, Timestamp};
use sqlx::any::AnyRow;

use crate::{
    access::{Access, Counter, TRIES_MAX},
    at_most, bounded,
    change::Write,
    chart::{self, AMOUNT_MAX, Purpose, UserId},
    error::{Conflict, RecordsError},
    kept::{self, Kept},
    text::{Text, Token},
};

/// Checkouts of a page.
pub const CHECKOUTS_PAGE_MAX: usize = 500;

/// Where a checkout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckoutState {
    /// It is written down, and nobody knows whether the provider has it: to be asked again with the same number.
    Begun = 0,
    /// The provider has it, and the user may pay.
    Open = 1,
    /// It is paid and credited.
    Credited = 2,
    /// Its time was over.
    Expired = 3,
    /// The payment failed.
    Failed = 4,
}

/// Something that a user wants to buy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The number, which is also the name of the request to the provider.
    pub id: u64,
    /// Who pays and who gets it.
    pub user: UserId,
    /// What is credited.
    pub micros: Micros,
    /// Where it stands.
    pub state: CheckoutState,
    /// What the provider calls it.
    pub session: Option<Token>,
    /// Where the user pays.
    pub url: Option<Text<2048>>,
    /// When it began.
    pub created: Timestamp,
    /// When it last changed.
    pub changed: Timestamp,
}

/// An event of the provider, which has its effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeEvent {
    /// What the provider calls it.
    pub id: Token,
    /// Its type.
    pub kind: Text<64>,
}

/// A session that was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Who gets it.
    pub user: UserId,
    /// What is credited.
    pub micros: Micros,
    /// The session, which is credited once.
    pub session: Token,
    /// The checkout that it belongs to, if one is known.
    pub checkout: Option<u64>,
    /// What the provider calls the payment itself.
    pub payment: Option<Token>,
}

/// What a bank does with a payment that is disputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispute {
    /// It takes the money back.
    Withdrawn,
    /// It gives the money again.
    Reinstated,
}

/// What came of something that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has had its effect now.
    Now,
    /// It had its effect before.
    Before,
}

/// The payments. Cheap to clone.
#[derive(Clone)]
pub struct Payments {
    pub(crate) access: Access,
}

const COLUMNS: &str = "id, user_id, micros, state, session, url, created, changed";

impl Payments {
    /// Writes down what a user wants to buy, before the provider is asked.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], or if it cannot be written.
    pub async fn begin(&self, user: UserId, micros: Micros) -> Result<Checkout, RecordsError> {
        at_most(AMOUNT_MAX, micros)?;
        let (id, now) = (self.access.next(Counter::Checkout).await?, self.access.now());
        let insert = "INSERT INTO checkouts (id, user_id, micros, state, created, changed) \
                      SELECT $1, u.id, $3, $4, $5, $5 FROM users u WHERE u.id = $2";
        let insert = Write::new(insert).bind(id).bind(user).bind(micros).bind(CheckoutState::Begun as u64).bind(now);
        let insert = insert.or(Conflict::UnknownUser);
        self.access.write(vec![insert]).await?;
        let state = CheckoutState::Begun;
        Ok(Checkout { id, user, micros, state, session: None, url: None, created: now, changed: now })
    }

    /// Writes down what the provider answered, and the answer that its user gets.
    ///
    /// # Errors
    /// [`Conflict::UnknownCheckout`], [`Conflict::Kept`], or if it cannot be written.
    pub async fn opened(
        &self,
        checkout: u64,
        session: &Token,
        url: &Text<2048>,
        kept: Option<Kept>,
    ) -> Result<(), RecordsError> {
        // It may be paid and credited already.
        let set = "UPDATE checkouts SET session = $1, url = $2, changed = $3, \
                   state = CASE WHEN state = 0 THEN 1 ELSE state END WHERE id = $4";
        let set = Write::new(set).bind(session).bind(url).bind(self.access.now()).bind(checkout);
        let mut writes = vec![set.or(Conflict::UnknownCheckout)];
        writes.extend(kept::write(kept.as_ref())?);
        self.access.write(writes).await
    }

    /// Gives up a checkout of which it is known that nobody can pay it: the provider never had it. One that is open or over
    /// stays as it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn abandon(&self, checkout: u64) -> Result<(), RecordsError> {
        let set = Write::new("UPDATE checkouts SET state = $1, changed = $2 WHERE id = $3 AND state = 0");
        let set = set.bind(CheckoutState::Failed as u64).bind(self.access.now()).bind(checkout);
        self.access.write(vec![set]).await
    }

    /// Credits a session that was paid, once, and pays what the user owes from it.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], [`Conflict::Different`] if it was credited with another amount or to another user, or if it
    /// cannot be written.
    pub async fn credit(&self, paid: &Paid, event: Option<&StripeEvent>) -> Result<Told, RecordsError> {
        let Paid { user, micros, session, checkout, payment } = paid;
        let cause = format!("stripe:session:{session}");
        let credit = chart::post(&cause, chart::STRIPE, chart::balance(*user), *micros, Purpose::Payment);
        let chain = vec![Event::Transfer(credit), chart::pay_debt(&format!("{cause}:debt"), *user, *micros)];
        let set = "UPDATE checkouts SET state = $1, changed = $2, payment = $3, session = $4 \
                   WHERE user_id = $5 AND (session = $4 OR (session IS NULL AND id = $6))";
        let set = Write::new(set).bind(CheckoutState::Credited as u64).bind(self.access.now());
        let set = set.bind(payment.as_ref()).bind(session).bind(*user).bind(checkout.unwrap_or_default());
        self.apply(*micros, event, vec![set], chain).await
    }

    /// Ends a checkout that was not paid. One that was credited stays so.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn end(
        &self,
        session: &Token,
        state: CheckoutState,
        event: Option<&StripeEvent>,
    ) -> Result<Told, RecordsError> {
        let set = "UPDATE checkouts SET state = $1, changed = $2 WHERE session = $3 AND state IN (0, 1)";
        let set = Write::new(set).bind(state as u64).bind(self.access.now()).bind(session);
        self.apply(Micros::ZERO, event, vec![set], Vec::new()).await
    }

    /// Takes back what of a payment was refunded: `total` is all of it until now, as the provider says it. A smaller total
    /// than one that was told before changes nothing.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], [`Conflict::Different`] if the payment is another user's, or if it cannot be written.
    pub async fn refund(
        &self,
        user: UserId,
        payment: &Token,
        total: Micros,
        event: Option<&StripeEvent>,
    ) -> Result<Told, RecordsError> {
        for _ in 0..TRIES_MAX {
            let known = "SELECT user_id, micros FROM stripe_refunds WHERE payment = $1";
            let known = match self.access.row(known, &[payment.into()]).await? {
                Some(row) if self.access.fields(&row).user("user_id")? != user => {
                    return Err(Conflict::Different.into());
                }
                Some(row) => self.access.fields(&row).micros("micros")?,
                None => Micros::ZERO,
            };
            let more = total.saturating_sub(known);
            if more == Micros::ZERO {
                return Ok(Told::Before);
            }
            let set = "INSERT INTO stripe_refunds (payment, user_id, micros) VALUES ($1, $2, $3) \
                       ON CONFLICT (payment) DO UPDATE SET micros = excluded.micros WHERE stripe_refunds.micros = $4";
            let set = Write::new(set).bind(payment).bind(user).bind(total).bind(known).or(Conflict::Changed);
            let chain = take_back(&format!("stripe:refund:{payment}:{}", total.get()), user, more);
            match self.apply(more, event, vec![set], chain).await {
                Err(RecordsError::Conflict(Conflict::Changed)) => {}
                told => return told,
            }
        }
        Err(RecordsError::Contended { database: self.access.database().name() })
    }

    /// Takes back what a bank withdrew for a dispute, or gives what it gave again.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], [`Conflict::Different`] if it was another amount or user, or if it cannot be written.
    pub async fn dispute(
        &self,
        user: UserId,
        dispute: &Token,
        micros: Micros,
        what: Dispute,
        event: Option<&StripeEvent>,
    ) -> Result<Told, RecordsError> {
        let chain = match what {
            Dispute::Withdrawn => take_back(&format!("stripe:dispute:{dispute}:withdrawn"), user, micros),
            Dispute::Reinstated => {
                let cause = format!("stripe:dispute:{dispute}:reinstated");
                let (from, to) = (chart::STRIPE, chart::balance(user));
                let given = Event::Transfer(chart::post(&cause, from, to, micros, Purpose::Reinstatement));
                vec![given, chart::pay_debt(&format!("{cause}:debt"), user, micros)]
            }
        };
        self.apply(micros, event, Vec::new(), chain).await
    }

    /// A checkout.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn checkout(&self, id: u64) -> Result<Option<Checkout>, RecordsError> {
        let sql = format!("SELECT {COLUMNS} FROM checkouts WHERE id = $1");
        let row = self.access.row(&sql, &[id.into()]).await?;
        row.map(|row| read(&self.access, &row)).transpose()
    }

    /// The checkout of a session.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn by_session(&self, session: &Token) -> Result<Option<Checkout>, RecordsError> {
        let sql = format!("SELECT {COLUMNS} FROM checkouts WHERE session = $1");
        let row = self.access.row(&sql, &[session.into()]).await?;
        row.map(|row| read(&self.access, &row)).transpose()
    }

    /// Checkouts behind number `after` that are begun or open and last changed before `before`, in order, at most `limit`:
    /// what the provider is to be asked about.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`CHECKOUTS_PAGE_MAX`] are asked for.
    pub async fn unfinished(&self, before: Timestamp, after: u64, limit: usize) -> Result<Vec<Checkout>, RecordsError> {
        bounded("checkouts", CHECKOUTS_PAGE_MAX, limit)?;
        let sql = format!(
            "SELECT {COLUMNS} FROM checkouts WHERE state IN (0, 1) AND changed < $1 AND id > $2 ORDER BY id LIMIT $3"
        );
        let rows = self.access.rows(&sql, &[before.into(), after.into(), (limit as u64).into()]).await?;
        rows.iter().map(|row| read(&self.access, row)).collect()
    }

    /// Notes an event that has no effect.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn note(&self, event: &StripeEvent) -> Result<Told, RecordsError> {
        self.apply(Micros::ZERO, Some(event), Vec::new(), Vec::new()).await
    }

    /// Whether an event was noted or has had its effect. One that is not known may have had it too, told by another.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn knows(&self, event: &Token) -> Result<bool, RecordsError> {
        let row = self.access.row("SELECT id FROM stripe_events WHERE id = $1", &[event.into()]).await?;
        Ok(row.is_some())
    }

    /// Up to which second the provider's list of events was read, and nothing before it is missing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn listed_until(&self) -> Result<u64, RecordsError> {
        self.access.counter("stripe_listed").await
    }

    /// Says so; it does not go back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn set_listed_until(&self, second: u64) -> Result<(), RecordsError> {
        let set = "UPDATE counters SET value = $1 WHERE name = 'stripe_listed' AND value < $1";
        self.access.write(vec![Write::new(set).bind(second)]).await
    }

    /// Forgets events from before `before`: their effects have names of their own and do not happen twice either.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn sweep(&self, before: Timestamp) -> Result<(), RecordsError> {
        self.access.write(vec![Write::new("DELETE FROM stripe_events WHERE created < $1").bind(before)]).await
    }

    /// An event and its effect, all or nothing.
    async fn apply(
        &self,
        amount: Micros,
        event: Option<&StripeEvent>,
        writes: Vec<Write>,
        chain: Vec<Event>,
    ) -> Result<Told, RecordsError> {
        at_most(AMOUNT_MAX, amount)?;
        self.access.platform().await?;
        let insert = |event: &StripeEvent| {
            let insert =
                "INSERT INTO stripe_events (id, kind, created) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
            let insert = Write::new(insert).bind(&event.id).bind(&event.kind).bind(self.access.now());
            insert.or(Conflict::Repeated)
        };
        let writes = event.map(insert).into_iter().chain(writes).collect();
        let is_empty = chain.is_empty();
        match self.access.change(writes, chain).await {
            Err(RecordsError::Conflict(Conflict::Repeated)) => Ok(Told::Before),
            outcomes => match chart::is_done_now(&outcomes?, Conflict::UnknownUser)? || is_empty {
                true => Ok(Told::Now),
                false => Ok(Told::Before),
            },
        }
    }
}

impl CheckoutState {
    fn from_number(number: u64) -> Option<Self> {
        [Self::Begun, Self::Open, Self::Credited, Self::Expired, Self::Failed]
            .into_iter()
            .find(|state| *state as u64 == number)
    }
}

/// Owes it, and pays what can be paid of it.
fn take_back(cause: &str, user: UserId, micros: Micros) -> Vec<Event> {
    let owed = chart::post(cause, chart::debt(user), chart::STRIPE, micros, Purpose::Reversal);
    vec![Event::Transfer(owed), chart::pay_debt(&format!("{cause}:debt"), user, micros)]
}

fn read(access: &Access, row: &AnyRow) -> Result<Checkout, RecordsError> {
    let fields = access.fields(row);
    Ok(Checkout {
        id: fields.number("id")?,
        user: fields.user("user_id")?,
        micros: fields.micros("micros")?,
        state: CheckoutState::from_number(fields.number("state")?).ok_or_else(|| fields.wrong("state"))?,
        session: fields.maybe_text("session")?,
        url: fields.maybe_text("url")?,
        created: fields.time("created")?,
        changed: fields.time("changed")?,
    })
}
