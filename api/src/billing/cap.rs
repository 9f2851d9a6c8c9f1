//! `GET /v1/usage`: how much of the cap of 30 days is left, so that a client slows down before it is refused.

use axum::{Json, extract::State, response::Response};
use ledger::Micros;
use records::{CAP_DAYS, CAP_MAX, Window};
use serde::Serialize;
use utoipa::ToSchema;

use super::kai::Usd;
use crate::{
    access::Member,
    problem::Problem,
    routes::{App, fresh},
};

/// The cap of 30 days: today and the 29 days before, in UTC.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageStatus {
    status: Cap,
}

/// What of a cap is used. Without a cap, its fields and what follows from them are null.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cap {
    /// The tier that says the cap.
    tier: String,
    /// What may be spent in the window, in US dollars.
    cap_usd: Option<Usd>,
    /// What was charged in it.
    used_usd: Usd,
    /// What can still be spent: the cap less what was charged and what is set aside.
    remaining_usd: Option<Usd>,
    /// How much of the cap is used, in whole percent, rounded down.
    percent: Option<u64>,
    /// Whether nothing can be spent just now.
    blocked: bool,
    /// `cap_usd` in micros.
    cap_micros: Option<u64>,
    /// `used_usd` in micros.
    used_micros: u64,
    /// `remaining_usd` in micros.
    remaining_micros: Option<u64>,
    /// What is set aside for requests that have not ended.
    held_micros: u64,
    /// How many days the window has.
    window_days: u64,
}

/// How much of the cap of 30 days is left?
#[utoipa::path(
    get,
    path = "/v1/usage",
    operation_id = "usage_cap",
    tag = "billing",
    responses((status = 200, description = "The cap, and what of it is used.", body = UsageStatus)),
)]
pub(crate) async fn cap(State(app): State<App>, member: Member) -> Result<Response, Problem> {
    let window = app.accounts()?.records.usage().window(member.user).await?;
    Ok(fresh(Json(UsageStatus { status: Cap::of(&member.tier, &window) })))
}

impl Cap {
    fn of(tier: &str, window: &Window) -> Self {
        let Window { cap, used, held, remaining } = *window;
        // The largest cap stands for none.
        let limited = |amount: Micros| (cap < CAP_MAX).then_some(amount);
        Self {
            tier: tier.to_owned(),
            cap_usd: limited(cap).map(Usd),
            used_usd: Usd(used),
            remaining_usd: limited(remaining).map(Usd),
            percent: limited(cap).map(|_| percent(window)),
            blocked: remaining == Micros::ZERO,
            cap_micros: limited(cap).map(Micros::get),
            used_micros: used.get(),
            remaining_micros: limited(remaining).map(Micros::get),
            held_micros: held.get(),
            window_days: CAP_DAYS,
        }
    }
}

/// How much of a cap is used, in whole percent, rounded down. All of a cap of nothing is used.
pub(crate) fn percent(window: &Window) -> u64 {
    let used = u128::from(window.used.get()) * 100;
    used.checked_div(window.cap.get().into()).map_or(100, |percent| u64::try_from(percent).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_the_shape_and_the_numbers_of_its_documentation() {
        let micros = |micros| Micros::new(micros).unwrap();
        let mut window = Window {
            cap: micros(500_000_000),
            used: micros(42_180_000),
            held: Micros::ZERO,
            remaining: micros(457_820_000),
        };
        let text = |window: &Window| serde_json::to_string(&UsageStatus { status: Cap::of("developer", window) });
        assert_eq!(
            text(&window).unwrap(),
            r#"{"status":{"tier":"developer","cap_usd":500.00,"used_usd":42.18,"remaining_usd":457.82,"percent":8,"#
                .to_owned()
                + r#""blocked":false,"cap_micros":500000000,"used_micros":42180000,"remaining_micros":457820000,"#
                + r#""held_micros":0,"window_days":30}}"#
        );
        window.cap = CAP_MAX;
        let text = text(&window).unwrap();
        for field in ["cap_usd", "remaining_usd", "percent", "cap_micros", "remaining_micros"] {
            assert!(text.contains(&format!("\"{field}\":null")), "{text}");
        }
        (window.cap, window.used) = (Micros::ZERO, Micros::ZERO);
        assert_eq!(percent(&window), 100);
        (window.cap, window.used) = (micros(3), Micros::MAX);
        assert_eq!(percent(&window), u64::MAX);
    }
}
