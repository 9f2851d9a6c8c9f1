//! What a payment, a refund or a dispute does to a user's money, whoever tells of it, however often and in whichever order.
//!
//! A session is credited once, with the amount that our own row says. What takes money back credits first what it takes back
//! from, and what gives it again takes it first: so no order of events makes money.

use axum::http::StatusCode;
use ledger::Micros;
use records::{
    Checkout, CheckoutState, Dispute, Paid, Payments, Records, RecordsError, StripeEvent, Text, Token, Told,
};
use stripe::{
    Amount, Charge, CheckoutStage, DisputeStage, DisputeStatus, Event, Kind, Session, SessionStatus, StripeError,
};

use super::cards::{Cards, Reference, is_marked};
use crate::problem::Problem;

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Money moved, or a checkout ended.
    Done,
    /// It had its effect before.
    Before,
    /// It has none.
    Nothing,
    /// It has none yet: the customer has finished, and the money is on its way.
    Pending,
    /// It is about a payment that was not begun here.
    Foreign,
}

/// Why an event has no effect though it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FulfilmentError {
    /// It cannot be written.
    #[error("the records do not take it")]
    Records(#[from] RecordsError),
    /// Stripe is to be asked about it, and does not answer.
    #[error("Stripe does not say more about it")]
    Stripe(#[source] Box<StripeError>),
    /// Somebody must look at it.
    #[error("{what} is not what was agreed: {why}")]
    Mismatch {
        /// The object at Stripe.
        what: String,
        /// What is different.
        why: &'static str,
    },
    /// Its money is real and ours is not, or the other way round.
    #[error("the event is of the other mode than the secret key: test or live")]
    Mode,
}

/// See the module.
pub(crate) struct Fulfilment<'a> {
    cards: &'a Cards,
    payments: Payments,
}

impl<'a> Fulfilment<'a> {
    pub(crate) fn new(records: &Records, cards: &'a Cards) -> Self {
        Self { cards, payments: records.payments() }
    }

    /// Lets an event have its effect, once.
    ///
    /// # Errors
    /// See [`FulfilmentError`]; whether the same event may have its effect later, [`FulfilmentError::is_terminal`] says.
    pub(crate) async fn event(&self, event: &Event) -> Result<Effect, FulfilmentError> {
        if event.livemode != self.cards.client.livemode() {
            return Err(FulfilmentError::Mode);
        }
        let told = StripeEvent { id: token(&event.id)?, kind: Text::cut(event.kind.name()) };
        if self.payments.knows(&told.id).await? {
            return Ok(Effect::Before);
        }
        match &event.kind {
            Kind::Checkout { stage, session } => self.session(session, Some(*stage), Some(&told)).await,
            Kind::Refunded(charge) => self.refund(charge, &told).await,
            Kind::Dispute { stage, dispute } => self.dispute(*stage, dispute, &told).await,
            Kind::Other(_) => self.nothing(Some(&told)).await,
        }
    }

    /// Asks Stripe how an open checkout stands, and does what follows.
    ///
    /// # Errors
    /// See [`FulfilmentError`].
    pub(crate) async fn ask(&self, checkout: &Checkout) -> Result<Effect, FulfilmentError> {
        let Some(session) = &checkout.session else { return Ok(Effect::Nothing) };
        let session = self.cards.client.session(session.as_str()).await?;
        self.session(&session, None, None).await
    }

    async fn session(
        &self,
        session: &Session,
        stage: Option<CheckoutStage>,
        event: Option<&StripeEvent>,
    ) -> Result<Effect, FulfilmentError> {
        let Some(checkout) = self.checkout(session).await? else { return self.foreign(event).await };
        if session.is_paid() {
            return self.credit(session, &checkout, event).await;
        }
        let end = match (stage, session.status) {
            (Some(CheckoutStage::AsyncFailed), _) => CheckoutState::Failed,
            (Some(CheckoutStage::Expired), _) | (_, Some(SessionStatus::Expired)) => CheckoutState::Expired,
            (_, Some(SessionStatus::Complete)) => {
                self.nothing(event).await?;
                return Ok(Effect::Pending);
            }
            _ => return self.nothing(event).await,
        };
        Ok(self.payments.end(&token(&session.id)?, end, event).await?.into())
    }

    /// The checkout that a session was made for, if it was made here.
    async fn checkout(&self, session: &Session) -> Result<Option<Checkout>, FulfilmentError> {
        let Some(text) = Reference::told(session) else { return Ok(None) };
        let Some(number) = Reference::number(text) else { return Ok(None) };
        let checkout = self.payments.checkout(number).await?;
        let checkout = checkout.filter(|checkout| Reference::of(checkout).as_str() == text);
        if checkout.is_none() {
            tracing::warn!(session = session.id, "a checkout of another database, or of one that was set back");
        }
        Ok(checkout)
    }

    async fn credit(
        &self,
        session: &Session,
        checkout: &Checkout,
        event: Option<&StripeEvent>,
    ) -> Result<Effect, FulfilmentError> {
        if session.livemode != self.cards.client.livemode() {
            return Err(FulfilmentError::Mode);
        }
        let mismatch = |why| FulfilmentError::Mismatch { what: session.id.clone(), why };
        if session.mode != "payment" {
            return Err(mismatch("the mode"));
        }
        if session.amount_total.and_then(Amount::usd_micros) != Some(checkout.micros.get()) {
            return Err(mismatch("the amount"));
        }
        let paid = Paid {
            user: checkout.user,
            micros: checkout.micros,
            session: token(&session.id)?,
            checkout: Some(checkout.id),
            payment: session.payment_intent.as_deref().map(token).transpose()?,
        };
        Ok(self.payments.credit(&paid, event).await?.into())
    }

    /// The credited checkout of a payment, if it was one of ours.
    async fn paid(&self, payment: &str) -> Result<Option<Checkout>, FulfilmentError> {
        let Some(session) = self.cards.client.session_of_payment(payment).await? else { return Ok(None) };
        let Some(checkout) = self.checkout(&session).await? else { return Ok(None) };
        if !session.is_paid() {
            return Err(FulfilmentError::Mismatch { what: session.id, why: "it was never paid" });
        }
        self.credit(&session, &checkout, None).await?;
        Ok(Some(checkout))
    }

    async fn refund(&self, charge: &Charge, event: &StripeEvent) -> Result<Effect, FulfilmentError> {
        let Some(payment) = charge.payment_intent.as_deref().filter(|_| is_marked(charge)) else {
            return self.foreign(Some(event)).await;
        };
        let Some(checkout) = self.paid(payment).await? else { return self.foreign(Some(event)).await };
        let total = taken(&charge.id, charge.amount_refunded, &checkout)?;
        Ok(self.payments.refund(checkout.user, &token(payment)?, total, Some(event)).await?.into())
    }

    async fn dispute(
        &self,
        stage: DisputeStage,
        dispute: &stripe::Dispute,
        event: &StripeEvent,
    ) -> Result<Effect, FulfilmentError> {
        let is_given_back = match (stage, dispute.status) {
            (DisputeStage::FundsWithdrawn, _) | (DisputeStage::Closed, DisputeStatus::Lost) => false,
            (DisputeStage::FundsReinstated, _) => true,
            // An inquiry takes nothing, and what is won is reinstated by an event of its own.
            (DisputeStage::Created | DisputeStage::Closed, _) => return self.nothing(Some(event)).await,
        };
        let Some(payment) = dispute.payment_intent.as_deref() else { return self.foreign(Some(event)).await };
        let Some(checkout) = self.paid(payment).await? else { return self.foreign(Some(event)).await };
        let (id, amount) = (token(&dispute.id)?, taken(&dispute.id, dispute.amount, &checkout)?);
        let (user, withdrawn) = (checkout.user, Dispute::Withdrawn);
        if !is_given_back {
            return Ok(self.payments.dispute(user, &id, amount, withdrawn, Some(event)).await?.into());
        }
        self.payments.dispute(user, &id, amount, withdrawn, None).await?;
        Ok(self.payments.dispute(user, &id, amount, Dispute::Reinstated, Some(event)).await?.into())
    }

    async fn foreign(&self, event: Option<&StripeEvent>) -> Result<Effect, FulfilmentError> {
        self.nothing(event).await?;
        Ok(Effect::Foreign)
    }

    async fn nothing(&self, event: Option<&StripeEvent>) -> Result<Effect, FulfilmentError> {
        if let Some(event) = event {
            self.payments.note(event).await?;
        }
        Ok(Effect::Nothing)
    }
}

impl From<StripeError> for FulfilmentError {
    fn from(error: StripeError) -> Self {
        Self::Stripe(Box::new(error))
    }
}

impl From<Told> for Effect {
    fn from(told: Told) -> Self {
        match told {
            Told::Now => Self::Done,
            Told::Before => Self::Before,
        }
    }
}

impl FulfilmentError {
    /// Whether the same event never has its effect, unless somebody does something about it.
    pub(crate) fn is_terminal(&self) -> bool {
        match self {
            Self::Mismatch { .. } | Self::Mode => true,
            Self::Records(error) => matches!(error, RecordsError::Conflict(_) | RecordsError::TooMuch { .. }),
            Self::Stripe(_) => false,
        }
    }
}

impl From<FulfilmentError> for Problem {
    fn from(error: FulfilmentError) -> Self {
        match error {
            FulfilmentError::Records(error) => error.into(),
            FulfilmentError::Stripe(_) => {
                let message = "Stripe does not answer just now; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "payments_unavailable", message).retry_after(5)
            }
            FulfilmentError::Mismatch { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "payment_mismatch", error.to_string())
            }
            FulfilmentError::Mode => Self::new(StatusCode::BAD_REQUEST, "wrong_mode", error.to_string()),
        }
    }
}

/// What is taken back of a payment: no more than was credited for it.
fn taken(what: &str, amount: Amount, checkout: &Checkout) -> Result<Micros, FulfilmentError> {
    let mismatch = || FulfilmentError::Mismatch { what: what.to_owned(), why: "the currency" };
    let micros = amount.usd_micros().and_then(Micros::new).ok_or_else(mismatch)?;
    Ok(micros.min(checkout.micros))
}

fn token(text: &str) -> Result<Token, FulfilmentError> {
    Token::new(text).map_err(|_| FulfilmentError::Mismatch { what: Token::cut(text).into(), why: "its id" })
}
