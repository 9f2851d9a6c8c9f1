//! `GET /v1/providers`: who answers, and how a task finds its model.

use std::{collections::BTreeMap, time::Instant};

use axum::{
    Json,
    extract::{RawQuery, State},
    response::Response,
};
use llm::{ChatRequest, Message, Part, routing};
use serde_json::{Value, json};

use super::{
    models::pricing,
    shapes::{Providers, RoutedTask},
    task::candidate,
};
use crate::{
    access::Member,
    given::Given,
    problem::Problem,
    routes::{App, fresh},
};

/// The prompt that routes are compared by: a page of text.
const SAMPLE_BYTES: usize = 3000;

/// Who answers, and why?
#[utoipa::path(
    get,
    path = "/v1/providers",
    operation_id = "providers",
    tag = "models",
    params(RoutedTask),
    responses((status = 200, description = "Providers with their models, and how a task finds one.", body = Providers)),
)]
pub(crate) async fn providers(
    State(app): State<App>,
    member: Member,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    member.needs(auth::Scope::Read)?;
    let query = query.unwrap_or_default();
    let given = Given::parse(&query, &["task_type"])?;
    let Some(chat) = &app.accounts()?.chat else {
        return Ok(fresh(Json(json!({"providers": [], "routing": {"order": [], "candidates": []}}))));
    };
    let mut providers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for model in chat.catalog.models() {
        let config = &model.config;
        let open = chat.driver.breakers().look(&config.id, Instant::now()).err();
        providers.entry(&config.provider).or_default().push(json!({
            "id": config.id,
            "upstream": config.upstream,
            "grade": config.grade,
            "capabilities": config.capabilities,
            "pricing": pricing(model, &chat.terms),
            "available": open.is_none(),
            "retry_after_ms": open.map(|open| u64::try_from(open.wait.as_millis()).unwrap_or(u64::MAX)),
        }));
    }
    let of = |(name, models): (&str, Vec<Value>)| {
        let is_available = models.iter().any(|model| model["available"] == true);
        let first = chat.catalog.models().find(|model| model.config.provider == name);
        json!({
            "name": name,
            "available": is_available,
            "takes_keys": first.is_some_and(|model| model.provider.is_remote()),
            "on_disconnect": first.map(|model| model.provider.on_disconnect),
            "models": models,
        })
    };
    let parts = vec![Part::Text("x".repeat(SAMPLE_BYTES))];
    let sample = ChatRequest::new("auto", vec![Message::User { parts, name: None }]);
    let task = given.get("task_type");
    let candidates = routing::explain_task(&chat.catalog, &sample, task, None);
    let grades: BTreeMap<_, _> = chat.catalog.tasks().collect();
    let order = candidates.iter().filter(|candidate| candidate.excluded.is_none());
    Ok(fresh(Json(json!({
        "providers": providers.into_iter().map(of).collect::<Vec<_>>(),
        "routing": {
            "rule": "the cheapest model whose grade is at least that of the task; the next cheapest stands in",
            "task_type": task,
            "grade": chat.catalog.grade_of(task),
            "grades": grades,
            "order": order.map(|candidate| &candidate.model.config.id).collect::<Vec<_>>(),
            "candidates": candidates.iter().map(candidate).collect::<Vec<_>>(),
        },
        "own_key_fee_micros": chat.terms.own_key_fee.get(),
    }))))
}
