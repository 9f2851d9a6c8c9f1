//! `POST /v1/chat/completions`: OpenAI's clients work unchanged.

use axum::{
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::Response,
};
use http_body_util::BodyExt;
use llm::{ChatRequest, RequestError, Source, Tokens, Usage, reply::usage_json, routing};
use serde_json::{Value, json};

use super::{
    call::{Call, Done, Wish},
    shapes::{ChatCompletion, ChatCompletionRequest, RequestHeaders},
    stream,
    whole::whole,
};
use crate::{
    access::Member,
    body::Raw,
    once::{Asked, Once},
    problem::Problem,
    routes::App,
};

const PATH: &str = "/v1/chat/completions";
/// The header beside the member of the same meaning, for clients that cannot add members.
const COST_MAX: &str = "x-max-cost-micros";

/// Answer a conversation.
///
/// OpenAI's clients work unchanged. Money for the longest answer is set aside before the model is asked, and what is not used
/// is given back; with less money the answer is shorter, as `x-kai-output-tokens-max` says.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    operation_id = "chat_completion",
    tag = "models",
    params(RequestHeaders),
    request_body = ChatCompletionRequest,
    responses(
        (status = 200, description = "The answer, whole or as a stream that ends with `[DONE]`.", content(
            (ChatCompletion = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 402, description = "`insufficient_funds`, or `key_cap_reached`."),
        (status = 404, description = "`model_not_found`."),
        (status = 409, description = "`idempotency_in_progress`."),
        (status = 422, description = "`idempotency_key_reused`: the name was given to another request."),
        (status = 502, description = "`provider_error`: nobody answered, and nothing is paid."),
        (status = 504, description = "`provider_timeout`."),
    ),
)]
pub(crate) async fn completions(
    State(app): State<App>,
    member: Member,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let member = member.needs(auth::Scope::Write)?;
    let chat = app.chat()?;
    chat.needs_models()?;
    let asked = Asked { user: member.user, realm: "", method: &Method::POST, path: PATH, body: &body };
    let once = Once::begin(app.accounts()?, &headers, asked).await?;
    let value = parse(&body)?;
    let request = ChatRequest::from_value(&value)?;
    let (is_stream, has_usage) = (request.stream, request.include_usage);
    let ticket = match once {
        Once::First(ticket) => ticket,
        Once::Again(answer) if is_stream => return again(answer, has_usage).await,
        Once::Again(answer) => return Ok(answer),
    };
    let cost_max = cost_max(&headers, value.get("max_cost_micros"))?;
    drop((value, body));
    let route = routing::by_name(&chat.catalog, &request)?;
    let call = Call::new(&app, Wish { member, endpoint: PATH, request, route, own_key: None, cost_max })?;
    if is_stream { stream::streamed(call, ticket, has_usage).await } else { whole(call, ticket, answer).await }
}

fn parse(body: &[u8]) -> Result<Value, RequestError> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("We could not parse the JSON body of your request: {error}.");
        RequestError { param: None, code: "invalid_json", message }
    })
}

/// A whole answer, with what it cost.
pub(super) fn answer(done: &Done) -> Value {
    let mut body = done.facts.reply(false).whole(&done.completion);
    if let Some(body) = body.as_object_mut() {
        body.insert("usage".to_owned(), usage(done));
        body.insert("service_tier".to_owned(), json!("default"));
    }
    body
}

/// What an answer used, as it is paid, and what that costs.
pub(super) fn usage(done: &Done) -> Value {
    let tokens = done.bill.as_ref().map_or_else(Tokens::default, |bill| bill.tokens);
    let mut usage = usage_json(&Usage { tokens, source: Source::Upstream, raw: Value::Null });
    if let Some(usage) = usage.as_object_mut() {
        usage.insert("cost_micros".to_owned(), json!(done.cost().get()));
    }
    usage
}

/// A stream that was given before, from the answer that was kept of it.
async fn again(answer: Response, has_usage: bool) -> Result<Response, Problem> {
    let (parts, body) = answer.into_parts();
    let unreadable =
        || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer that was given cannot be read");
    let body = body.collect().await.map_err(|_| unreadable())?.to_bytes();
    let body: Value = serde_json::from_slice(&body).map_err(|_| unreadable())?;
    let mut response = stream::again(body, has_usage);
    let replayed = parts.headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
    response.headers_mut().extend(replayed.filter(|(name, _)| name == "idempotency-replayed"));
    Ok(response)
}

/// The most that a call may cost: the lower of the header and the member of the body.
pub(super) fn cost_max(headers: &HeaderMap, member: Option<&Value>) -> Result<Option<u64>, Problem> {
    let wrong = |field: &str| {
        let message = format!("{field} is a whole number of micros, 1000000 for 1 KAI");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", message).field(field)
    };
    let header = headers.get(COST_MAX).map(|value| value.to_str().ok().and_then(|text| text.parse::<u64>().ok()));
    let header = header.map(|number| number.ok_or_else(|| wrong(COST_MAX))).transpose()?;
    let member = member.filter(|member| !member.is_null());
    let member = member.map(|member| member.as_u64().ok_or_else(|| wrong("max_cost_micros"))).transpose()?;
    Ok(header.into_iter().chain(member).min())
}
