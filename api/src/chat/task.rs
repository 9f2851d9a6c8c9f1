//! `POST /v1/llm`: a prompt goes to the cheapest provider that is good enough for its task, or to the caller's own.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use llm::{
    ChatRequest, Secret,
    routing::{self, Candidate, Route, RouteError},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Chat,
    budget::Plan,
    call::{Call, Done, Wish},
    completions::cost_max,
    prompt,
    shapes::{LlmAnswer, LlmRequest, RequestHeaders},
    whole::whole,
};
use crate::{
    access::Member,
    billing::Usd,
    body::{self, Raw},
    once::{Asked, Once},
    problem::Problem,
    routes::{App, fresh},
};

const PATH: &str = "/v1/llm";
const OUTPUT_TOKENS: u32 = 1024;
const TEMPERATURE: f64 = 0.7;
/// Whichever is the cheapest.
const AUTO: &str = "auto";

/// What may be asked. It has no `Debug`, for it has a key. Unknown members are ignored.
#[derive(Deserialize)]
struct Task {
    prompt: String,
    system: Option<String>,
    task_type: Option<String>,
    provider: Option<String>,
    byo_key: Option<Secret>,
    byo_provider: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Answer a prompt with the cheapest model that is good enough.
///
/// Where a provider fails, the next one stands in. With a key of your own the provider is paid by you, and the call costs a
/// flat fee; the key is used once and never kept.
#[utoipa::path(
    post,
    path = "/v1/llm",
    operation_id = "llm",
    tag = "models",
    params(RequestHeaders),
    request_body = LlmRequest,
    responses(
        (status = 200, description = "The answer, or where it would come from.", body = LlmAnswer),
        (status = 400, description = "A member is wrong, or `byo_key_refused`: the provider does not take the key."),
        (status = 402, description = "`insufficient_funds`, or `key_cap_reached`."),
        (status = 500, description = "`provider_error`: nobody answered, and nothing is paid."),
    ),
)]
pub(crate) async fn task(
    State(app): State<App>,
    member: Member,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let member = member.needs(auth::Scope::Write)?;
    let chat = app.chat()?;
    chat.needs_models()?;
    let asked = Asked { user: member.user, realm: "", method: &Method::POST, path: PATH, body: &body };
    let ticket = match Once::begin(app.accounts()?, &headers, asked).await? {
        Once::First(ticket) => ticket,
        Once::Again(answer) => return Ok(answer),
    };
    let mut task: Task = body::parse(&body)?;
    drop(body);
    let cost_max = cost_max(&headers, task.more.get("max_cost_micros"))?;
    let (own_key, is_dry) = (task.byo_key.take(), task.dry_run);
    let provider = provider(chat, &task, own_key.is_some())?;
    task.more.entry("max_tokens").or_insert(json!(OUTPUT_TOKENS));
    task.more.entry("temperature").or_insert(json!(TEMPERATURE));
    let request = prompt::request(AUTO, &task.prompt, task.system.as_deref(), task.more)?;
    let mut route = route(chat, &request, task.task_type.as_deref(), provider.as_deref())?;
    if own_key.is_some() {
        route.targets.retain(|model| model.provider.is_remote());
    }
    let wish = Wish { member, endpoint: PATH, request, route, own_key, cost_max };
    if is_dry {
        return Ok(dry_run(chat, &wish));
    }
    let call = Call::new(&app, wish)?;
    whole(call, ticket, answer).await.map_err(documented)
}

/// Who may answer. Whoever names a provider gets it, with its best model if none is as good as the task would have it.
fn route(chat: &Chat, request: &ChatRequest, task: Option<&str>, provider: Option<&str>) -> Result<Route, RouteError> {
    let models = chat.catalog.models().filter(|model| Some(model.config.provider.as_str()) == provider);
    match (routing::by_task(&chat.catalog, request, task, provider), models.max_by_key(|model| model.config.grade)) {
        (Err(RouteError::NoneFits), Some(best)) => {
            let named = ChatRequest { model: best.config.id.clone(), ..request.clone() };
            routing::by_name(&chat.catalog, &named)
        }
        (route, _) => route,
    }
}

/// Whom a task is for; `None` for the cheapest.
fn provider(chat: &Chat, task: &Task, has_key: bool) -> Result<Option<String>, Problem> {
    let (field, name) = match (&task.provider, &task.byo_provider) {
        (_, Some(name)) if has_key => ("byo_provider", Some(name)),
        (Some(name), _) if name != AUTO => ("provider", Some(name)),
        _ if has_key => {
            let message = "byo_provider is missing: it says whose key byo_key is";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "missing_fields", message).field("byo_provider"));
        }
        _ => ("provider", None),
    };
    let Some(name) = name else { return Ok(None) };
    let mut of_it = chat.catalog.models().filter(|model| model.config.provider == *name).peekable();
    let is_known = of_it.peek().is_some();
    if is_known && (!has_key || of_it.any(|model| model.provider.is_remote())) {
        return Ok(Some(name.clone()));
    }
    let mut known: Vec<_> = chat.catalog.models().map(|model| model.config.provider.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    let message = if is_known {
        "this provider takes no keys".to_owned()
    } else {
        format!("there is no such provider; known: {AUTO}, {}", known.join(", "))
    };
    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_provider", message).field(field))
}

/// The status that these routes document for whatever a provider does wrong.
fn documented(problem: Problem) -> Problem {
    if problem.status() == StatusCode::BAD_GATEWAY || problem.status() == StatusCode::GATEWAY_TIMEOUT {
        return problem.or_status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    problem
}

fn answer(done: &Done) -> Value {
    let tokens = done.bill.as_ref().map(|bill| bill.tokens).unwrap_or_default();
    let cost = done.cost();
    json!({
        "ok": true,
        "id": done.facts.id,
        "text": done.completion.text.as_ref().or(done.completion.refusal.as_ref()),
        "provider": done.facts.provider,
        "model": done.facts.model,
        "finish_reason": done.completion.finish.map(llm::Finish::as_str),
        "tokens_in": tokens.input_total(),
        "tokens_out": tokens.output_total(),
        "cost_usd": Usd(cost),
        "cost_micros": cost.get(),
        "balance_micros": done.balance.get(),
    })
}

/// Where a call would go and what it would cost at most. Nothing is sent and nothing is set aside.
fn dry_run(chat: &Arc<Chat>, wish: &Wish) -> Response {
    let Wish { route: Route { targets, candidates, .. }, request, own_key, cost_max, .. } = wish;
    let plan = match Plan::new(targets, request, own_key.is_some(), &chat.terms, *cost_max) {
        Ok(plan) => plan,
        Err(dear) => return super::call::too_dear(dear).into_response(),
    };
    let first = plan.targets.first();
    fresh(axum::Json(json!({
        "ok": true,
        "dry_run": true,
        "provider": first.map(|model| &model.config.provider),
        "model": first.map(|model| &model.config.id),
        "max_tokens": plan.output_tokens,
        "tokens_in_estimate": request.estimate_input(),
        "cost_max_micros": plan.amount,
        "route": plan.targets.iter().map(|model| &model.config.id).collect::<Vec<_>>(),
        "candidates": candidates.iter().map(candidate).collect::<Vec<_>>(),
    })))
}

pub(super) fn candidate(candidate: &Candidate) -> Value {
    let config = &candidate.model.config;
    json!({
        "model": config.id,
        "provider": config.provider,
        "grade": config.grade,
        "cost_estimate_micros": candidate.cost,
        "excluded": candidate.excluded,
    })
}
