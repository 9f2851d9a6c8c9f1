//! `POST /v1/ai/chat`: one prompt, one answer, and what it cost in its parts.

use axum::{
    extract::State,
    http::{HeaderMap, Method},
    response::Response,
};
use llm::{ChatRequest, routing};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    call::{Call, Done, Wish},
    completions::cost_max,
    shapes::{AiChatAnswer, AiChatRequest, RequestHeaders},
    whole::whole,
};
use crate::{
    access::Member,
    billing::Kai,
    body::{self, Raw},
    once::{Asked, Once},
    problem::Problem,
    routes::App,
};

const PATH: &str = "/v1/ai/chat";
/// What answers where nothing is asked for.
const MODEL: &str = "kai-fast";

/// What may be asked. Unknown members are ignored.
#[derive(Deserialize)]
struct Prompt {
    prompt: String,
    system: Option<String>,
    #[serde(default = "usual_model")]
    model: String,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Members that mean what they mean in `/v1/chat/completions`.
const SAME: [&str; 6] = ["max_tokens", "temperature", "top_p", "stop", "seed", "reasoning"];

fn usual_model() -> String {
    MODEL.to_owned()
}

/// Answer one prompt.
///
/// The answer says what it cost in its parts.
#[utoipa::path(
    post,
    path = "/v1/ai/chat",
    operation_id = "ai_chat",
    tag = "models",
    params(RequestHeaders),
    request_body = AiChatRequest,
    responses(
        (status = 200, description = "The answer and its cost.", body = AiChatAnswer),
        (status = 402, description = "`insufficient_funds`, or `key_cap_reached`."),
        (status = 404, description = "`model_not_found`."),
    ),
)]
pub(crate) async fn prompt(
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
    let prompt: Prompt = body::parse(&body)?;
    drop(body);
    let cost_max = cost_max(&headers, prompt.more.get("max_cost_micros"))?;
    let request = request(&prompt.model, &prompt.prompt, prompt.system.as_deref(), prompt.more)?;
    let route = routing::by_name(&chat.catalog, &request)?;
    let call = Call::new(&app, Wish { member, endpoint: PATH, request, route, own_key: None, cost_max })?;
    whole(call, ticket, answer).await
}

/// The request of a prompt, checked as any other.
pub(super) fn request(
    model: &str,
    prompt: &str,
    system: Option<&str>,
    more: Map<String, Value>,
) -> Result<ChatRequest, Problem> {
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let messages = system.map(|text| said("system", text)).into_iter().chain([said("user", prompt)]);
    let mut body: Map<_, _> = more.into_iter().filter(|(name, _)| SAME.contains(&name.as_str())).collect();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), messages.collect());
    Ok(ChatRequest::from_value(&Value::Object(body))?)
}

fn answer(done: &Done) -> Value {
    let (tokens, bill) = (done.bill.as_ref().map(|bill| bill.tokens).unwrap_or_default(), &done.bill);
    let part = |part: fn(&super::meter::Bill) -> ledger::Micros| bill.as_ref().map_or(0, |bill| part(bill).get());
    let text = done.completion.text.as_ref().or(done.completion.refusal.as_ref());
    json!({
        "id": done.facts.id,
        "answer": text,
        "text": text,
        "reasoning": done.completion.reasoning(),
        "model": done.facts.model,
        "provider": done.facts.provider,
        "finish_reason": done.completion.finish.map(llm::Finish::as_str),
        "tokens_in": tokens.input_total(),
        "tokens_out": tokens.output_total(),
        "tokens_reasoning": tokens.reasoning,
        "cost_micros": done.cost().get(),
        "cost_kai": Kai::from(done.cost()),
        "breakdown": {
            "input_micros": part(|bill| bill.input),
            "output_micros": part(|bill| bill.output),
            "fee_micros": part(|bill| bill.fee),
        },
        "balance_micros": done.balance.get(),
        "balance_kai": Kai::from(done.balance),
        "latency_ms": bill.as_ref().map_or(0, |bill| u64::try_from(bill.latency.as_millis()).unwrap_or(u64::MAX)),
    })
}
