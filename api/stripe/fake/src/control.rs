//! Routes below `/_fake/`, for clients in other languages: the methods of [`crate::Fake`], with forms as bodies.
//!
//! - `POST sessions/{id}/{action}`: `pay`, `pay_later`, `arrive`, `fail`, `expire`, `refund` (with `cents`), `inquire`, `dispute`, `win`,
//!   `lose`. Answers the ids of the events.
//! - `POST deliver`: `url`, `secret`, `events` (ids with commas between), `raced=true`, `pause_ms`, `signed_at`. Answers the statuses.
//! - `POST spoil`: `times`, `status`, `done=true`, `delay_ms`, `retry_after`.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    Delivery, DeliveryError, Fault, Shared, act::Action, deliver::deliver, form::Form, http::FAULTS_MAX,
    refusal::Refusal,
};

pub(crate) async fn answer(shared: &Shared, method: &Method, path: &str, body: &[u8]) -> Result<Value, Refusal> {
    let mut form = Form::parse(body)?;
    let segments: Vec<&str> = path.split('/').collect();
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["sessions", id, action]) => {
            let cents = form.integer("cents")?;
            form.finish()?;
            let unknown = || Refusal::new(400, None, format!("Unknown action: {action}"));
            let action = Action::parse(action, cents).ok_or_else(unknown)?;
            Ok(json!({ "events": shared.world().act(id, action)? }))
        }
        ("POST", ["deliver"]) => {
            let delivery = Delivery {
                url: form.required("url")?,
                secret: form.required("secret")?,
                events: form.required("events")?.split(',').map(str::to_owned).collect(),
                raced: flag(&mut form, "raced"),
                pause: Duration::from_millis(form.integer("pause_ms")?.unwrap_or(0)),
                signed_at: form.integer("signed_at")?,
            };
            form.finish()?;
            match deliver(shared, &delivery).await {
                Ok(statuses) => Ok(json!({ "statuses": statuses })),
                Err(DeliveryError::Refused(refusal)) => Err(refusal),
                Err(DeliveryError::Http(error)) => Err(Refusal::new(502, None, error.to_string())),
            }
        }
        ("POST", ["spoil"]) => {
            let times = form.integer("times")?.and_then(|times| usize::try_from(times).ok()).unwrap_or(1);
            let fault = Fault {
                status: form.integer("status")?.and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
                done: flag(&mut form, "done"),
                delay: Duration::from_millis(form.integer("delay_ms")?.unwrap_or(0)),
                retry_after: form.integer("retry_after")?,
            };
            form.finish()?;
            shared.world().faults.extend(std::iter::repeat_n(fault, times.min(FAULTS_MAX)));
            Ok(json!({ "times": times }))
        }
        _ => Err(Refusal::new(404, None, format!("Unrecognized request URL ({method}: /_fake/{path})."))),
    }
}

fn flag(form: &mut Form, name: &str) -> bool {
    form.take(name).is_some_and(|value| value == "true")
}
