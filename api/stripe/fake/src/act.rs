//! What customers, banks and operators do to a session, and the events that tell of it.

use serde_json::{Value, json};

use crate::{
    refusal::Refusal,
    world::{Session, World, set},
};

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The customer pays by card.
    Pay,
    /// The customer pays by a method that takes days.
    PayLater,
    /// What was to be paid later has come.
    Arrive,
    /// What was to be paid later has not come.
    Fail,
    /// Nobody can pay any more.
    Expire,
    /// The operator gives back so many cents.
    Refund(u64),
    /// The customer's bank asks, and takes nothing.
    Inquire,
    /// The customer's bank takes the money back.
    Dispute,
    /// The operator wins the dispute and has the money again.
    Win,
    /// The operator loses the dispute.
    Lose,
}

impl Action {
    /// Reads `pay`, `pay_later`, `arrive`, …; a refund needs its cents.
    pub(crate) fn parse(text: &str, cents: Option<u64>) -> Option<Self> {
        Some(match text {
            "pay" => Self::Pay,
            "pay_later" => Self::PayLater,
            "arrive" => Self::Arrive,
            "fail" => Self::Fail,
            "expire" => Self::Expire,
            "refund" => Self::Refund(cents?),
            "inquire" => Self::Inquire,
            "dispute" => Self::Dispute,
            "win" => Self::Win,
            "lose" => Self::Lose,
            _ => return None,
        })
    }
}

impl World {
    pub(crate) fn act(&mut self, id: &str, action: Action) -> Result<Vec<String>, Refusal> {
        // Ids first: the session is borrowed below.
        let (payment_intent, new_dispute) = (self.id("pi_3"), self.id("du_1"));
        let (charge, dispute) = (self.fixture("charge"), self.fixture("dispute"));
        let session = self.sessions.get_mut(id).ok_or_else(|| Refusal::missing("checkout.session", id, "session"))?;
        let told = match action {
            Action::Pay => session.complete("paid", payment_intent)?,
            Action::PayLater => session.complete("unpaid", payment_intent)?,
            Action::Arrive => session.decide("paid", "checkout.session.async_payment_succeeded")?,
            Action::Fail => session.decide("unpaid", "checkout.session.async_payment_failed")?,
            Action::Expire => session.expire()?,
            Action::Refund(cents) => session.refund(charge, cents)?,
            Action::Inquire => session.dispute(dispute, new_dispute, "warning_needs_response", &["created"])?,
            Action::Dispute => {
                session.dispute(dispute, new_dispute, "needs_response", &["created", "funds_withdrawn"])?
            }
            Action::Win => session.close("won", &["closed", "funds_reinstated"])?,
            Action::Lose => session.close("lost", &["closed"])?,
        };
        told.iter().map(|(kind, object)| self.tell(kind, object)).collect()
    }
}

type Told = Vec<(String, Value)>;

impl Session {
    fn is(&self, field: &str, value: &str) -> bool {
        self.body.get(field).and_then(Value::as_str) == Some(value)
    }

    fn must(&self, field: &str, value: &str) -> Result<(), Refusal> {
        if self.is(field, value) {
            return Ok(());
        }
        let now = self.body.get(field).cloned().unwrap_or_default();
        Err(Refusal::new(400, None, format!("Only sessions with {field} {value} can do this, not {now}")))
    }

    fn total(&self) -> u64 {
        self.body.get("amount_total").and_then(Value::as_u64).unwrap_or(0)
    }

    fn complete(&mut self, payment_status: &str, payment_intent: String) -> Result<Told, Refusal> {
        self.must("status", "open")?;
        let email = self.body.get("customer_email").filter(|email| email.is_string());
        let email = email.cloned().unwrap_or_else(|| "customer@example.com".into());
        set(
            &mut self.body,
            &[
                ("status", "complete".into()),
                ("payment_status", payment_status.into()),
                ("payment_intent", payment_intent.into()),
                ("url", Value::Null),
                ("customer_details", json!({ "email": email, "name": "Jenny Rosen", "address": null, "phone": null })),
            ],
        );
        Ok(vec![("checkout.session.completed".to_owned(), self.body.clone())])
    }

    fn decide(&mut self, payment_status: &str, kind: &str) -> Result<Told, Refusal> {
        self.must("status", "complete")?;
        self.must("payment_status", "unpaid")?;
        set(&mut self.body, &[("payment_status", payment_status.into())]);
        Ok(vec![(kind.to_owned(), self.body.clone())])
    }

    pub(crate) fn expire(&mut self) -> Result<Told, Refusal> {
        self.must("status", "open")?;
        set(&mut self.body, &[("status", "expired".into()), ("url", Value::Null)]);
        Ok(vec![("checkout.session.expired".to_owned(), self.body.clone())])
    }

    fn refund(&mut self, mut charge: Value, cents: u64) -> Result<Told, Refusal> {
        self.must("payment_status", "paid")?;
        let total = self.total();
        let refunded = self.refunded.saturating_add(cents);
        if cents == 0 || refunded > total {
            let message = "Refund amount is greater than unrefunded amount on charge";
            return Err(Refusal::of_param("charge_already_refunded", "amount", message));
        }
        self.refunded = refunded;
        set(
            &mut charge,
            &[
                ("id", self.charge.as_str().into()),
                ("amount", total.into()),
                ("amount_captured", total.into()),
                ("amount_refunded", refunded.into()),
                ("captured", true.into()),
                ("refunded", (refunded == total).into()),
                ("currency", self.body["currency"].clone()),
                ("payment_intent", self.body["payment_intent"].clone()),
                ("metadata", self.payment_metadata.clone().into()),
            ],
        );
        Ok(vec![("charge.refunded".to_owned(), charge)])
    }

    fn dispute(&mut self, mut dispute: Value, id: String, status: &str, told: &[&str]) -> Result<Told, Refusal> {
        self.must("payment_status", "paid")?;
        if self.dispute.is_some() {
            return Err(Refusal::new(400, None, "A dispute is open already"));
        }
        set(
            &mut dispute,
            &[
                ("id", id.into()),
                ("amount", self.total().into()),
                ("charge", self.charge.as_str().into()),
                ("currency", self.body["currency"].clone()),
                ("payment_intent", self.body["payment_intent"].clone()),
                ("status", status.into()),
            ],
        );
        self.dispute = Some(dispute.clone());
        Ok(told.iter().map(|stage| (format!("charge.dispute.{stage}"), dispute.clone())).collect())
    }

    fn close(&mut self, status: &str, told: &[&str]) -> Result<Told, Refusal> {
        let mut dispute = self.dispute.take().ok_or_else(|| Refusal::new(400, None, "No dispute is open"))?;
        set(&mut dispute, &[("status", status.into())]);
        Ok(told.iter().map(|stage| (format!("charge.dispute.{stage}"), dispute.clone())).collect())
    }
}
