//! Cards: how Stripe is asked for a page on which a user pays.

use ledger::Timestamp;
use records::{Checkout, Text, Token};
use stripe::{CheckoutRequest, Endpoint, IdempotencyKey, RequestError, Session, StripeClient, StripeError};

const MICROS_PER_CENT: u64 = 10_000;
const PRODUCT: &str = "KAI credits";
/// What sessions and charges of ours have attached: the reference of their checkout.
const MARK: &str = "kandle_checkout";
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Payments by card, as the program sets them up.
pub struct Cards {
    /// Asks Stripe.
    pub client: StripeClient,
    /// Judges webhooks; without one none is believed, and payments are found by asking.
    pub endpoint: Option<Endpoint>,
    /// Where a customer comes back to who has paid.
    pub success_url: String,
    /// Where a customer comes back to who has not.
    pub cancel_url: String,
}

/// A page of Stripe's that waits for a customer.
pub(crate) struct Page {
    pub(crate) session: Token,
    pub(crate) url: Text<2048>,
    pub(crate) expires: Timestamp,
}

/// What a checkout is called at Stripe. Its number alone would not do: two databases may share one account at Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference(String);

impl Reference {
    pub(crate) fn of(checkout: &Checkout) -> Self {
        Self(format!("kandle-{}-{:x}", checkout.id, checkout.created.nanos()))
    }

    /// The number of the checkout that may have this reference.
    pub(crate) fn number(text: &str) -> Option<u64> {
        text.strip_prefix("kandle-")?.split_once('-')?.0.parse().ok()
    }

    /// What a session says of its checkout.
    pub(crate) fn told(session: &Session) -> Option<&str> {
        session.client_reference_id.as_deref()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Cards {
    /// Asks for the page of a checkout. Asked again within a day, it is the same page.
    ///
    /// # Errors
    /// [`StripeError`]
    pub(crate) async fn open(&self, checkout: &Checkout, email: &str) -> Result<Page, StripeError> {
        let reference = Reference::of(checkout);
        let reference = reference.as_str();
        let field = "client_reference_id";
        let key = IdempotencyKey::new(reference).ok_or(RequestError::Field { field })?;
        let (user, micros) = (checkout.user.0.to_string(), checkout.micros.get().to_string());
        let metadata = [(MARK, reference), ("kandle_user", &user), ("kandle_micros", &micros)];
        let request = CheckoutRequest {
            usd_cents: checkout.micros.get() / MICROS_PER_CENT,
            product: PRODUCT,
            success_url: &self.success_url,
            cancel_url: &self.cancel_url,
            client_reference_id: reference,
            customer_email: Some(email),
            metadata: &metadata,
            payment_metadata: &metadata,
        };
        let session = self.client.create_session(&request, &key).await?;
        let unreadable = || StripeError::Unreadable { why: "a session without a page".to_owned() };
        let url = session.url.and_then(|url| Text::new(url).ok()).ok_or_else(unreadable)?;
        let session_id = Token::new(session.id).map_err(|_| unreadable())?;
        let expires = session.expires_at.checked_mul(NANOS_PER_SECOND).and_then(Timestamp::new);
        Ok(Page { session: session_id, url, expires: expires.unwrap_or(Timestamp::MAX) })
    }
}

/// Whether a charge was made by a session of ours, or of another database's that shares our account at Stripe.
pub(crate) fn is_marked(charge: &stripe::Charge) -> bool {
    charge.metadata.contains_key(MARK)
}

/// Whether a refusal is about what was asked, so that asking again is in vain; not about our key or the pace.
pub(crate) fn is_final(error: &StripeError) -> bool {
    match error {
        StripeError::Request(_) => true,
        StripeError::Refused { status, .. } => !matches!(status, 401 | 403 | 429),
        _ => false,
    }
}

/// How many micros so many cents are.
pub(crate) fn micros(cents: u64) -> Option<ledger::Micros> {
    cents.checked_mul(MICROS_PER_CENT).and_then(ledger::Micros::new)
}
