//! Shapes of bodies for the document alone.
#![expect(dead_code, reason = "these types say what is read and written, and are not what does it")]

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::billing::Kai;

/// What to answer. OpenAI's other parameters are honoured, or taken as hints, or refused by name.
#[derive(ToSchema)]
pub(super) struct ChatCompletionRequest {
    /// A model or an alias of `/v1/models`.
    #[schema(example = "kai-fast", min_length = 1, max_length = 128)]
    model: String,
    /// The conversation, oldest first.
    #[schema(min_items = 1, max_items = 2048)]
    messages: Vec<ChatMessage>,
    /// The most tokens to write, those of reasoning included.
    #[schema(example = 20, minimum = 1, maximum = 10_000_000)]
    max_tokens: Option<u32>,
    /// From 0, always the likeliest token, to 2.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// Whether the answer comes in pieces, as server-sent events.
    stream: Option<bool>,
    /// Whether the model thinks first; the alias says so otherwise.
    reasoning: Option<bool>,
    /// The most that the call may cost: the answer is made as short as that needs. The header `x-max-cost-micros` says the same.
    #[schema(minimum = 0)]
    max_cost_micros: Option<u64>,
}

/// One turn.
#[derive(ToSchema)]
pub(super) struct ChatMessage {
    /// Who speaks.
    role: ChatRole,
    /// What is said.
    #[schema(example = "hi")]
    content: String,
}

/// Who speaks.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum ChatRole {
    System,
    User,
    Assistant,
}

/// OpenAI's chat completion.
#[derive(ToSchema)]
pub(super) struct ChatCompletion {
    /// Also the name of its rows in `/v1/billing/usage`.
    id: String,
    object: String,
    /// In seconds since 1970.
    created: u64,
    /// The model that was asked for; the header `x-kai-model` says which one answered.
    model: String,
    choices: Vec<Value>,
    usage: ChatUsage,
}

/// What the answer used and cost.
#[derive(ToSchema)]
pub(super) struct ChatUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    /// What the call costs.
    cost_micros: u64,
}

/// One prompt.
#[derive(ToSchema)]
pub(super) struct AiChatRequest {
    /// What to answer.
    #[schema(example = "How is BTC?")]
    prompt: String,
    /// What the model is told before.
    system: Option<String>,
    /// A model or an alias; `kai-fast` without it.
    #[schema(example = "kai-fast", max_length = 128)]
    model: Option<String>,
    /// The most tokens to write.
    #[schema(minimum = 1, maximum = 10_000_000)]
    max_tokens: Option<u32>,
    /// Whether the model thinks first.
    reasoning: Option<bool>,
    /// The most that the call may cost.
    #[schema(minimum = 0)]
    max_cost_micros: Option<u64>,
}

/// The answer and what it cost in its parts.
#[derive(ToSchema)]
pub(super) struct AiChatAnswer {
    answer: Option<String>,
    /// The same as `answer`.
    text: Option<String>,
    reasoning: Option<String>,
    model: String,
    provider: String,
    tokens_in: u64,
    tokens_out: u64,
    cost_micros: u64,
    cost_kai: Kai,
    breakdown: AiChatBreakdown,
    balance_micros: u64,
    balance_kai: Kai,
    latency_ms: u64,
}

/// The parts of the cost, which add up to it.
#[derive(ToSchema)]
pub(super) struct AiChatBreakdown {
    input_micros: u64,
    output_micros: u64,
    fee_micros: u64,
}

/// A task for whichever model is the cheapest that is good enough.
#[derive(ToSchema)]
pub(super) struct LlmRequest {
    /// What to answer.
    #[schema(example = "Write a 1-line product description for an AI scheduler")]
    prompt: String,
    /// What the model is told before.
    system: Option<String>,
    /// What kind of task it is: caption, classify, follow_up, reply, short_copy and summarize go to the cheapest models.
    #[schema(example = "short_copy")]
    task_type: Option<String>,
    /// The most tokens to write; 1024 without it.
    #[schema(minimum = 1, maximum = 10_000_000)]
    max_tokens: Option<u32>,
    /// 0.7 without it.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// A provider of `/v1/providers`, or `auto`.
    #[schema(example = "auto")]
    provider: Option<String>,
    /// A key of your own at `byo_provider`: it is used once, never kept, and the call costs a flat fee.
    byo_key: Option<String>,
    /// Whose key that is.
    byo_provider: Option<String>,
    /// Whether only the route and the worst cost are told.
    dry_run: Option<bool>,
    /// The most that the call may cost.
    #[schema(minimum = 0)]
    max_cost_micros: Option<u64>,
}

/// The answer; of a dry run, what it would be.
#[derive(ToSchema)]
pub(super) struct LlmAnswer {
    ok: bool,
    text: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    /// An exact decimal.
    cost_usd: Option<f64>,
    cost_micros: Option<u64>,
}

/// All that can be called.
#[derive(ToSchema)]
pub(super) struct ModelList {
    /// Always `list`.
    object: String,
    data: Vec<ModelShape>,
}

/// A model or an alias.
#[derive(ToSchema)]
#[schema(as = Model)]
pub(super) struct ModelShape {
    #[schema(example = "kai-fast")]
    id: String,
    /// Always `model`.
    object: String,
    /// In seconds since 1970.
    created: u64,
    /// Its provider.
    owned_by: String,
    /// What its provider calls it.
    upstream: String,
    pricing: ModelPricing,
    /// The most tokens that it reads and writes together.
    context_length: u64,
    /// The most tokens that it writes.
    max_output_tokens: u64,
}

/// What a million tokens cost, and each call beside them.
#[derive(ToSchema)]
pub(super) struct ModelPricing {
    input_micros_per_million: u64,
    cache_read_micros_per_million: u64,
    cache_write_micros_per_million: u64,
    output_micros_per_million: u64,
    fee_micros: u64,
}

/// Who answers, and how a task finds its model.
#[derive(ToSchema)]
pub(super) struct Providers {
    providers: Vec<Value>,
    routing: Value,
}

/// Headers of a request that costs.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct RequestHeaders {
    /// A name of this request, 1 to 255 characters: if it comes again, it gets the answer that it got, and costs nothing
    /// more.
    #[param(rename = "Idempotency-Key")]
    idempotency_key: Option<String>,
    /// The most that the call may cost, as `max_cost_micros` of the body: the lower of both holds.
    #[param(rename = "x-max-cost-micros", minimum = 0)]
    max_cost_micros: Option<u64>,
}

/// What the routing is explained for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RoutedTask {
    /// A kind of task.
    #[param(example = "summarize")]
    task_type: Option<String>,
}
