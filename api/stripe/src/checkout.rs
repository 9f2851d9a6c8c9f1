//! What a payment asks Stripe for, in the bytes that its own libraries send.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::RequestError;

/// The least that Stripe charges in dollars, in cents.
pub const USD_CENTS_MIN: u64 = 50;
/// The most that one payment adds, in cents: 100,000 dollars.
pub const USD_CENTS_MAX: u64 = 10_000_000;

const NAME_BYTES_MAX: usize = 250;
const URL_BYTES_MAX: usize = 2048;
const REFERENCE_BYTES_MAX: usize = 200;
const EMAIL_BYTES_MAX: usize = 254;
const METADATA_MAX: usize = 50;
const METADATA_KEY_BYTES_MAX: usize = 40;
const METADATA_VALUE_BYTES_MAX: usize = 500;

/// What Stripe's libraries leave as it is in a value; brackets too, which they spare wherever they stand.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'[').remove(b']');

/// A payment in US dollars on a page of Stripe's, <https://docs.stripe.com/api/checkout/sessions/create>.
#[derive(Clone, Copy, Debug)]
pub struct CheckoutRequest<'a> {
    /// How many cents.
    pub usd_cents: u64,
    /// What the customer reads that he buys.
    pub product: &'a str,
    /// Where the customer goes after paying. Stripe puts the session's id in place of `{CHECKOUT_SESSION_ID}`.
    pub success_url: &'a str,
    /// Where the customer goes instead.
    pub cancel_url: &'a str,
    /// Our name for what is paid; it comes back in the session.
    pub client_reference_id: &'a str,
    /// Filled in for the customer.
    pub customer_email: Option<&'a str>,
    /// Attached to the session.
    pub metadata: &'a [(&'a str, &'a str)],
    /// Attached to the payment, and so to the charge that a refund tells of.
    pub payment_metadata: &'a [(&'a str, &'a str)],
}

impl CheckoutRequest<'_> {
    /// The form, with the fields in the order and the encoding of Stripe's Python library: brackets as they are,
    /// `+` for a space.
    ///
    /// # Errors
    /// [`RequestError`] if a field is beyond its bounds; nothing of it is sent then.
    pub fn form(&self) -> Result<String, RequestError> {
        self.check()?;
        let mut form = Form(String::with_capacity(1024));
        form.add("mode", "payment");
        form.add("success_url", self.success_url);
        form.add("cancel_url", self.cancel_url);
        form.add("client_reference_id", self.client_reference_id);
        if let Some(email) = self.customer_email {
            form.add("customer_email", email);
        }
        form.add("line_items[0][quantity]", "1");
        form.add("line_items[0][price_data][currency]", "usd");
        form.add("line_items[0][price_data][unit_amount]", &self.usd_cents.to_string());
        form.add("line_items[0][price_data][product_data][name]", self.product);
        for (key, value) in self.metadata {
            form.add(&format!("metadata[{key}]"), value);
        }
        for (key, value) in self.payment_metadata {
            form.add(&format!("payment_intent_data[metadata][{key}]"), value);
        }
        Ok(form.0)
    }

    fn check(&self) -> Result<(), RequestError> {
        if !(USD_CENTS_MIN..=USD_CENTS_MAX).contains(&self.usd_cents) {
            return Err(RequestError::Amount { cents: self.usd_cents });
        }
        let email = self.customer_email.is_none_or(|email| is_text(email, EMAIL_BYTES_MAX) && email.contains('@'));
        for (field, valid) in [
            ("success_url", is_url(self.success_url)),
            ("cancel_url", is_url(self.cancel_url)),
            ("client_reference_id", is_text(self.client_reference_id, REFERENCE_BYTES_MAX)),
            ("customer_email", email),
            ("product_data[name]", is_text(self.product, NAME_BYTES_MAX)),
            ("metadata", is_metadata(self.metadata)),
            ("payment_intent_data[metadata]", is_metadata(self.payment_metadata)),
        ] {
            if !valid {
                return Err(RequestError::Field { field });
            }
        }
        Ok(())
    }
}

struct Form(String);

impl Form {
    /// Names are our own words, so they need no encoding.
    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        for piece in utf8_percent_encode(value, PLAIN) {
            self.0.push_str(if piece == "%20" { "+" } else { piece });
        }
    }
}

fn is_text(text: &str, bytes_max: usize) -> bool {
    !text.trim().is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
}

fn is_url(text: &str) -> bool {
    let usable = |url: reqwest::Url| matches!(url.scheme(), "https" | "http") && url.username().is_empty();
    is_text(text, URL_BYTES_MAX) && !text.contains(char::is_whitespace) && reqwest::Url::parse(text).is_ok_and(usable)
}

fn is_metadata(entries: &[(&str, &str)]) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    entries.len() <= METADATA_MAX
        && entries.iter().enumerate().all(|(nth, (key, value))| {
            is_text(key, METADATA_KEY_BYTES_MAX)
                && key.bytes().all(name)
                && is_text(value, METADATA_VALUE_BYTES_MAX)
                && entries.iter().take(nth).all(|(before, _)| before != key)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: CheckoutRequest<'_> = CheckoutRequest {
        usd_cents: 1000,
        product: "KAI credits",
        success_url: "https://example.com/ok?session_id={CHECKOUT_SESSION_ID}",
        cancel_url: "https://example.com/cancel",
        client_reference_id: "user-1",
        customer_email: None,
        metadata: &[],
        payment_metadata: &[],
    };

    #[test]
    fn an_amount_is_within_its_bounds() {
        for (usd_cents, fine) in
            [(0, false), (49, false), (50, true), (10_000_000, true), (10_000_001, false), (u64::MAX, false)]
        {
            let verdict = CheckoutRequest { usd_cents, ..TEN }.form();
            assert_eq!(verdict.is_ok(), fine, "{usd_cents}: {verdict:?}");
        }
    }

    #[test]
    fn a_field_beyond_its_bounds_is_named() {
        let (long, many) = ("x".repeat(3000), [("key", "value"); 2]);
        let key = "k".repeat(41);
        let cases = [
            ("success_url", CheckoutRequest { success_url: "javascript:alert(1)", ..TEN }),
            ("success_url", CheckoutRequest { success_url: "/relative", ..TEN }),
            ("cancel_url", CheckoutRequest { cancel_url: "https://user@example.com/", ..TEN }),
            ("cancel_url", CheckoutRequest { cancel_url: "https://example.com/a\r\nX: y", ..TEN }),
            ("client_reference_id", CheckoutRequest { client_reference_id: "", ..TEN }),
            ("client_reference_id", CheckoutRequest { client_reference_id: &long, ..TEN }),
            ("customer_email", CheckoutRequest { customer_email: Some("nobody"), ..TEN }),
            ("product_data[name]", CheckoutRequest { product: " ", ..TEN }),
            ("metadata", CheckoutRequest { metadata: &many, ..TEN }),
            ("metadata", CheckoutRequest { metadata: &[("a][b", "1")], ..TEN }),
            ("metadata", CheckoutRequest { metadata: &[("a", &long)], ..TEN }),
            ("payment_intent_data[metadata]", CheckoutRequest { payment_metadata: &[(&key, "1")], ..TEN }),
            ("payment_intent_data[metadata]", CheckoutRequest { payment_metadata: &[("a&b=", "1")], ..TEN }),
        ];
        for (field, request) in cases {
            assert_eq!(request.form(), Err(RequestError::Field { field }), "{request:?}");
        }
    }

    #[test]
    fn no_value_can_add_a_field() {
        let form = CheckoutRequest { product: "a&mode=setup=~*é +%", ..TEN }.form().unwrap();
        assert!(form.ends_with("[name]=a%26mode%3Dsetup%3D~%2A%C3%A9+%2B%25"), "{form}");
    }
}
