//! What a webhook says: the events that move money, read as far as they are used.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::{
    money::Amount,
    session::{Metadata, Reference, Session, amount},
};

/// The longest body of a webhook that is read. Stripe's are a few kilobytes.
pub const EVENT_BYTES_MAX: usize = 512 << 10;

/// The types that are read; all others become [`Kind::Other`]. An endpoint subscribes to these.
pub const TYPES: [&str; 9] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
];

/// A body that is no event, or an event without what its type promises. Sent again it would be the same.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Longer than [`EVENT_BYTES_MAX`].
    #[error("the body is longer than {EVENT_BYTES_MAX} bytes")]
    TooLong,
    /// Not JSON, or not of the shape of an event.
    #[error("the body is not an event")]
    Envelope(#[source] serde_json::Error),
    /// An event of a known type whose object cannot be read.
    #[error("the object of {id} ({kind}) cannot be read")]
    Object {
        /// The event.
        id: String,
        /// Its type.
        kind: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Something that happened at Stripe, <https://docs.stripe.com/api/events/object>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `evt_…`: the same for each delivery of one event, but two events may tell of one fact.
    pub id: String,
    /// When it happened, in seconds since the Unix epoch. It gives no order: events of one second are many.
    pub created: u64,
    /// Real money, not a test.
    pub livemode: bool,
    /// What happened.
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Checkout session went on.
    Checkout {
        /// How.
        stage: CheckoutStage,
        /// As it was then.
        session: Box<Session>,
    },
    /// A charge was given back, in part or wholly.
    Refunded(Charge),
    /// A customer's bank took a charge back, or thinks about it.
    Dispute {
        /// How far.
        stage: DisputeStage,
        /// As it was then.
        dispute: Dispute,
    },
    /// Nothing that concerns us; its type.
    Other(String),
}

/// How a Checkout session went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckoutStage {
    /// The customer has finished. Paid only if the session says so.
    Completed,
    /// A slow payment has come.
    AsyncSucceeded,
    /// A slow payment has not come.
    AsyncFailed,
    /// Nobody can pay any more.
    Expired,
}

/// How far a dispute has come. Only the withdrawal takes money, and only the reinstatement gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisputeStage {
    /// It was opened; an inquiry takes no money.
    Created,
    /// The money was taken.
    FundsWithdrawn,
    /// The money was given back.
    FundsReinstated,
    /// It is over; its status says how.
    Closed,
}

/// A charge that was refunded, <https://docs.stripe.com/api/charges/object>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// `ch_…`
    pub id: String,
    /// What was charged.
    pub amount: Amount,
    /// All that has been refunded of it until then: the sum of all refunds, not the last of them.
    pub amount_refunded: Amount,
    /// `pi_…`: the session's.
    pub payment_intent: Option<String>,
    /// What we attached to the payment.
    pub metadata: Metadata,
}

/// A dispute, <https://docs.stripe.com/api/disputes/object>. Its metadata is not that of the payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// `du_…` or `dp_…`; a charge can have several.
    pub id: String,
    /// `ch_…`
    pub charge: String,
    /// `pi_…`: the session's.
    pub payment_intent: Option<String>,
    /// What is disputed: may be less than the charge, or more by an exchange rate.
    pub amount: Amount,
    /// How it stands.
    pub status: DisputeStatus,
}

/// How a dispute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are Stripe's")]
pub enum DisputeStatus {
    WarningNeedsResponse,
    WarningUnderReview,
    WarningClosed,
    NeedsResponse,
    UnderReview,
    Won,
    Lost,
    Prevented,
}

impl Event {
    /// Reads a webhook's body, whose signature was verified before. Fields that are not used are ignored, so any version of the
    /// API will do.
    ///
    /// # Errors
    /// [`EventError`]
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        if body.len() > EVENT_BYTES_MAX {
            return Err(EventError::TooLong);
        }
        Self::from_value(&serde_json::from_slice(body).map_err(EventError::Envelope)?)
    }

    /// Reads an event out of a larger answer.
    pub(crate) fn from_value(value: &Value) -> Result<Self, EventError> {
        let envelope = Envelope::deserialize(value).map_err(EventError::Envelope)?;
        let kind = kind_of(envelope.kind, &envelope.data.object).map_err(|(kind, source)| EventError::Object {
            id: envelope.id.to_owned(),
            kind,
            source,
        })?;
        Ok(Self { id: envelope.id.to_owned(), created: envelope.created, livemode: envelope.livemode, kind })
    }
}

impl Kind {
    /// Its type, as Stripe writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Checkout { stage: CheckoutStage::Completed, .. } => "checkout.session.completed",
            Self::Checkout { stage: CheckoutStage::AsyncSucceeded, .. } => "checkout.session.async_payment_succeeded",
            Self::Checkout { stage: CheckoutStage::AsyncFailed, .. } => "checkout.session.async_payment_failed",
            Self::Checkout { stage: CheckoutStage::Expired, .. } => "checkout.session.expired",
            Self::Refunded(_) => "charge.refunded",
            Self::Dispute { stage: DisputeStage::Created, .. } => "charge.dispute.created",
            Self::Dispute { stage: DisputeStage::FundsWithdrawn, .. } => "charge.dispute.funds_withdrawn",
            Self::Dispute { stage: DisputeStage::FundsReinstated, .. } => "charge.dispute.funds_reinstated",
            Self::Dispute { stage: DisputeStage::Closed, .. } => "charge.dispute.closed",
            Self::Other(kind) => kind,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    created: u64,
    livemode: bool,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

fn kind_of(kind: &str, object: &Value) -> Result<Kind, (&'static str, serde_json::Error)> {
    let Some(known) = TYPES.into_iter().find(|known| *known == kind) else { return Ok(Kind::Other(kind.to_owned())) };
    let read = || match known {
        "checkout.session.completed" => checkout(CheckoutStage::Completed, object),
        "checkout.session.async_payment_succeeded" => checkout(CheckoutStage::AsyncSucceeded, object),
        "checkout.session.async_payment_failed" => checkout(CheckoutStage::AsyncFailed, object),
        "checkout.session.expired" => checkout(CheckoutStage::Expired, object),
        "charge.refunded" => Charge::deserialize(object).map(Kind::Refunded),
        "charge.dispute.created" => dispute(DisputeStage::Created, object),
        "charge.dispute.funds_withdrawn" => dispute(DisputeStage::FundsWithdrawn, object),
        "charge.dispute.funds_reinstated" => dispute(DisputeStage::FundsReinstated, object),
        "charge.dispute.closed" => dispute(DisputeStage::Closed, object),
        other => Ok(Kind::Other(other.to_owned())),
    };
    read().map_err(|source| (known, source))
}

fn checkout(stage: CheckoutStage, object: &Value) -> serde_json::Result<Kind> {
    Ok(Kind::Checkout { stage, session: Box::new(Session::deserialize(object)?) })
}

fn dispute(stage: DisputeStage, object: &Value) -> serde_json::Result<Kind> {
    Ok(Kind::Dispute { stage, dispute: Dispute::deserialize(object)? })
}

impl<'de> Deserialize<'de> for Charge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            id: String,
            amount: u64,
            amount_refunded: u64,
            currency: String,
            payment_intent: Option<Reference>,
            metadata: Option<Metadata>,
        }
        let wire = Wire::deserialize(deserializer)?;
        if wire.amount_refunded > wire.amount {
            return Err(D::Error::custom("more was refunded than charged"));
        }
        Ok(Self {
            id: wire.id,
            amount: amount(wire.amount, &wire.currency).map_err(D::Error::custom)?,
            amount_refunded: amount(wire.amount_refunded, &wire.currency).map_err(D::Error::custom)?,
            payment_intent: wire.payment_intent.map(Reference::into_id),
            metadata: wire.metadata.unwrap_or_default(),
        })
    }
}

impl<'de> Deserialize<'de> for Dispute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            id: String,
            charge: Reference,
            payment_intent: Option<Reference>,
            amount: u64,
            currency: String,
            status: DisputeStatus,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            id: wire.id,
            charge: wire.charge.into_id(),
            payment_intent: wire.payment_intent.map(Reference::into_id),
            amount: amount(wire.amount, &wire.currency).map_err(D::Error::custom)?,
            status: wire.status,
        })
    }
}
