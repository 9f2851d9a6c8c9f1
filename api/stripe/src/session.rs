//! A Checkout session: what a customer is asked to pay, and whether it was paid.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::money::{Amount, Currency};

/// What was attached to an object when it was made.
pub type Metadata = BTreeMap<String, String>;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// The customer may still pay.
    Open,
    /// The customer has finished; the money may still be on its way.
    Complete,
    /// Nobody can pay any more.
    Expired,
}

/// Whether the money has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// The money has come.
    Paid,
    /// It has not, or not yet.
    Unpaid,
    /// Nothing was to be paid.
    NoPaymentRequired,
}

/// A Checkout session, <https://docs.stripe.com/api/checkout/sessions/object>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `cs_…`: what a credit is keyed by.
    pub id: String,
    /// Where the customer pays, while the session is open.
    pub url: Option<String>,
    /// `payment`, or what else Stripe can do and we never ask for.
    pub mode: String,
    /// How far it has come; not every mode says so.
    pub status: Option<SessionStatus>,
    /// Whether the money has come.
    pub payment_status: PaymentStatus,
    /// What is asked for, all discounts and taxes included.
    pub amount_total: Option<Amount>,
    /// What we called it.
    pub client_reference_id: Option<String>,
    /// `pi_…`, once the customer has paid: refunds and disputes name it.
    pub payment_intent: Option<String>,
    /// What we attached.
    pub metadata: Metadata,
    /// Real money, not a test.
    pub livemode: bool,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// When nobody can pay any more, in seconds since the Unix epoch.
    pub expires_at: u64,
}

impl Session {
    /// Whether the customer's money has come. A session that has been completed may still be unpaid: bank debits take days.
    pub fn is_paid(&self) -> bool {
        self.payment_status == PaymentStatus::Paid
    }
}

impl<'de> Deserialize<'de> for Session {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        let amount_total = match (wire.amount_total, wire.currency) {
            (Some(minor), Some(currency)) => Some(amount(minor, &currency).map_err(D::Error::custom)?),
            _ => None,
        };
        Ok(Self {
            id: wire.id,
            url: wire.url,
            mode: wire.mode,
            status: wire.status,
            payment_status: wire.payment_status,
            amount_total,
            client_reference_id: wire.client_reference_id,
            payment_intent: wire.payment_intent.map(Reference::into_id),
            metadata: wire.metadata.unwrap_or_default(),
            livemode: wire.livemode,
            created: wire.created,
            expires_at: wire.expires_at,
        })
    }
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    url: Option<String>,
    mode: String,
    status: Option<SessionStatus>,
    payment_status: PaymentStatus,
    amount_total: Option<u64>,
    currency: Option<String>,
    client_reference_id: Option<String>,
    payment_intent: Option<Reference>,
    metadata: Option<Metadata>,
    livemode: bool,
    created: u64,
    expires_at: u64,
}

/// Another object: by its id, or whole where it was expanded.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Reference {
    Id(String),
    Whole { id: String },
}

impl Reference {
    pub(crate) fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Whole { id } => id,
        }
    }
}

/// The amount, or why it is none.
pub(crate) fn amount(minor: u64, currency: &str) -> Result<Amount, String> {
    let known = Currency::parse(currency).ok_or_else(|| format!("{currency:?} is no currency"))?;
    Amount::new(minor, known).ok_or_else(|| format!("{minor} {currency} is too much"))
}
