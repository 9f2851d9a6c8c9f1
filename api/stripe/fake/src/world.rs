//! What the fake knows: sessions and events. Their bodies are Stripe's published fixtures with the request's values put in.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    clock,
    form::Form,
    http::{Fault, Recorded},
    once::Answer,
    refusal::Refusal,
};

const OBJECTS_MAX: usize = 100_000;
const DAY: u64 = 86_400;
const CENTS_MIN: u64 = 50;
const CENTS_MAX: u64 = 99_999_999;

pub(crate) struct World {
    pub(crate) key: String,
    pub(crate) answers: HashMap<String, Answer>,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) requests: VecDeque<Recorded>,
    pub(crate) sessions: BTreeMap<String, Session>,
    /// Oldest first.
    pub(crate) events: Vec<Value>,
    fixtures: Value,
    seed: String,
    ids: u64,
}

pub(crate) struct Session {
    /// As Stripe shows it.
    pub(crate) body: Value,
    pub(crate) item: Value,
    pub(crate) payment_metadata: Map<String, Value>,
    pub(crate) charge: String,
    pub(crate) refunded: u64,
    /// The dispute that is open, if one.
    pub(crate) dispute: Option<Value>,
}

impl World {
    pub(crate) fn new(key: &str, base: &str) -> Self {
        let fixtures: Value =
            serde_json::from_str(include_str!("../fixtures/stripe_fixtures.json")).unwrap_or_default();
        Self {
            key: key.to_owned(),
            answers: HashMap::new(),
            faults: VecDeque::new(),
            requests: VecDeque::new(),
            sessions: BTreeMap::new(),
            events: Vec::new(),
            fixtures,
            // Two runs never give the same ids: a database may outlive a fake.
            seed: format!("{base} {} {}", clock::seconds(), std::process::id()),
            ids: 0,
        }
    }

    /// A new id that begins with `prefix`.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        let digest = Sha256::digest(format!("{} {} {prefix}", self.seed, self.ids));
        format!("{prefix}{}", hex::encode(digest.get(..12).unwrap_or_default()))
    }

    pub(crate) fn fixture(&self, name: &str) -> Value {
        self.fixtures.get("resources").and_then(|all| all.get(name)).cloned().unwrap_or_default()
    }

    /// `POST /v1/checkout/sessions`
    pub(crate) fn create_session(&mut self, mut form: Form) -> Result<Value, Refusal> {
        let new = NewSession::parse(&mut form)?;
        form.finish()?;
        if self.sessions.len() >= OBJECTS_MAX {
            return Err(Refusal::new(429, Some("rate_limit"), "The fake is full"));
        }
        let (id, now, total) = (self.id("cs_test_a1"), clock::seconds(), new.unit_amount * new.quantity);
        let mut item = self.fixture("item");
        set(
            &mut item,
            &[
                ("id", self.id("li_").into()),
                ("amount_subtotal", total.into()),
                ("amount_total", total.into()),
                ("currency", new.currency.as_str().into()),
                ("description", new.name.into()),
                ("quantity", new.quantity.into()),
            ],
        );
        let mut body = self.fixture("checkout.session");
        set(
            &mut body,
            &[
                ("id", id.as_str().into()),
                ("url", format!("https://checkout.stripe.com/c/pay/{id}#fake").into()),
                ("success_url", new.success_url.into()),
                ("cancel_url", new.cancel_url.into()),
                ("client_reference_id", new.reference.into()),
                ("customer_email", new.email.into()),
                ("amount_subtotal", total.into()),
                ("amount_total", total.into()),
                ("currency", new.currency.into()),
                ("metadata", new.metadata.into()),
                ("created", now.into()),
                ("expires_at", (now + DAY).into()),
                ("payment_intent", Value::Null),
                ("total_details", json!({ "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 })),
                // Filled by the fixture, and not so in a payment of credits.
                ("after_expiration", Value::Null),
                ("currency_conversion", Value::Null),
                ("customer_details", Value::Null),
                ("shipping_cost", Value::Null),
            ],
        );
        let charge = self.id("ch_");
        let payment_metadata = new.payment_metadata;
        let session = Session { body: body.clone(), item, payment_metadata, charge, refunded: 0, dispute: None };
        self.sessions.insert(id, session);
        Ok(body)
    }

    /// `GET /v1/checkout/sessions/{id}`
    pub(crate) fn session(&self, id: &str, mut form: Form) -> Result<Value, Refusal> {
        let expand = form.take_below("expand");
        form.finish()?;
        let session = self.sessions.get(id).ok_or_else(|| Refusal::missing("checkout.session", id, "session"))?;
        let mut body = session.body.clone();
        for (_, what) in expand {
            if what != "line_items" {
                return Err(Refusal::new(400, None, format!("This property cannot be expanded ({what}).")));
            }
            let url = format!("/v1/checkout/sessions/{id}/line_items");
            body["line_items"] = json!({ "object": "list", "data": [session.item], "has_more": false, "url": url });
        }
        Ok(body)
    }

    /// Keeps an event about an object as it is now, and gives its id.
    pub(crate) fn tell(&mut self, kind: &str, object: &Value) -> Result<String, Refusal> {
        if self.events.len() >= OBJECTS_MAX {
            return Err(Refusal::new(429, Some("rate_limit"), "The fake is full"));
        }
        let id = self.id("evt_1");
        let mut event = self.fixture("event");
        set(
            &mut event,
            &[
                ("id", id.as_str().into()),
                ("type", kind.into()),
                ("created", clock::seconds().into()),
                ("api_version", "2026-10-28.endive".into()),
                ("data", json!({ "object": object })),
            ],
        );
        self.events.push(event);
        Ok(id)
    }

    pub(crate) fn event(&self, id: &str) -> Result<&Value, Refusal> {
        let found = self.events.iter().find(|event| event.get("id").and_then(Value::as_str) == Some(id));
        found.ok_or_else(|| Refusal::missing("event", id, "id"))
    }
}

/// Sets fields of an object.
pub(crate) fn set(object: &mut Value, fields: &[(&str, Value)]) {
    for (name, value) in fields {
        object[*name] = value.clone();
    }
}

struct NewSession {
    currency: String,
    unit_amount: u64,
    quantity: u64,
    name: String,
    success_url: String,
    cancel_url: Option<String>,
    reference: Option<String>,
    email: Option<String>,
    metadata: Map<String, Value>,
    payment_metadata: Map<String, Value>,
}

impl NewSession {
    fn parse(form: &mut Form) -> Result<Self, Refusal> {
        if form.required("mode")? != "payment" {
            return Err(Refusal::of_param("parameter_invalid", "mode", "The fake knows only payments"));
        }
        let new = Self {
            currency: form.required("line_items[0][price_data][currency]")?,
            unit_amount: form.integer("line_items[0][price_data][unit_amount]")?.unwrap_or(0),
            quantity: form.integer("line_items[0][quantity]")?.unwrap_or(0),
            name: form.required("line_items[0][price_data][product_data][name]")?,
            success_url: form.required("success_url")?,
            cancel_url: form.take("cancel_url"),
            reference: form.take("client_reference_id"),
            email: form.take("customer_email"),
            metadata: form.metadata("metadata")?,
            payment_metadata: form.metadata("payment_intent_data[metadata]")?,
        };
        new.check()?;
        Ok(new)
    }

    fn check(&self) -> Result<(), Refusal> {
        let refuse = |code, param: &str, message: &str| Err(Refusal::of_param(code, param, message));
        let url = |text: &str| text.starts_with("https://") || text.starts_with("http://");
        if self.currency != "usd" {
            let message = format!("Invalid currency: {}", self.currency);
            return refuse("parameter_invalid", "line_items[0][price_data][currency]", &message);
        }
        if !(1..=999).contains(&self.quantity) {
            return refuse(
                "parameter_invalid_integer",
                "line_items[0][quantity]",
                "This value must be between 1 and 999.",
            );
        }
        if self.unit_amount > CENTS_MAX {
            let message = "Amount must be no more than $999,999.99";
            return refuse("amount_too_large", "line_items[0][price_data][unit_amount]", message);
        }
        if self.unit_amount * self.quantity < CENTS_MIN {
            let message = "The Checkout Session's total amount due must add up to at least $0.50 usd";
            return Err(Refusal::new(400, Some("amount_too_small"), message));
        }
        if !url(&self.success_url) {
            return refuse("url_invalid", "success_url", "Not a valid URL");
        }
        if self.cancel_url.as_deref().is_some_and(|text| !url(text)) {
            return refuse("url_invalid", "cancel_url", "Not a valid URL");
        }
        if self.email.as_deref().is_some_and(|text| !text.contains('@')) {
            return refuse("email_invalid", "customer_email", "Invalid email address");
        }
        if self.reference.as_deref().is_some_and(|text| text.is_empty() || text.chars().count() > 200) {
            return refuse(
                "parameter_invalid_string_length",
                "client_reference_id",
                "Invalid string: must be 1 to 200",
            );
        }
        Ok(())
    }
}
