//! The same `Idempotency-Key` twice, <https://docs.stripe.com/api/idempotent_requests>: what was done first is answered again; what
//! failed validation was not done and leaves nothing.

use serde_json::Value;

use crate::{refusal::Refusal, world::World};

const ANSWERS_MAX: usize = 100_000;
const KEY_CHARS_MAX: usize = 255;

/// What was answered to a key.
pub(crate) struct Answer {
    fingerprint: String,
    body: Value,
}

impl World {
    /// Does `what` unless it was done under this key; says whether it was.
    pub(crate) fn once(
        &mut self,
        key: Option<&str>,
        fingerprint: String,
        what: impl FnOnce(&mut Self) -> Result<Value, Refusal>,
    ) -> Result<(Value, bool), Refusal> {
        let Some(key) = key else { return what(self).map(|body| (body, false)) };
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            return Err(Refusal::new(400, None, "Idempotency keys have 1 to 255 characters"));
        }
        if let Some(answer) = self.answers.get(key) {
            if answer.fingerprint == fingerprint {
                return Ok((answer.body.clone(), true));
            }
            let message = format!(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. \
                 Try using a key other than '{key}' if you meant to execute a different request."
            );
            return Err(Refusal { kind: "idempotency_error", ..Refusal::new(400, None, message) });
        }
        let body = what(self)?;
        if self.answers.len() < ANSWERS_MAX {
            self.answers.insert(key.to_owned(), Answer { fingerprint, body: body.clone() });
        }
        Ok((body, false))
    }
}
