//! What is asked of a model, in words that no provider owns.

use serde_json::{Map, Value};

use crate::{event::Thought, usage::estimate_tokens};

/// The longest body of a request.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most messages of a request.
pub const MESSAGES_MAX: usize = 2048;
/// The most parts of a message.
pub(crate) const PARTS_MAX: usize = 256;
/// The most tools of a request, as OpenAI allows.
pub(crate) const TOOLS_MAX: usize = 128;
/// The most stop sequences, as OpenAI allows.
pub(crate) const STOPS_MAX: usize = 4;

/// A picture costs about this many tokens where nobody has counted: the higher of the fixed costs in use.
const IMAGE_TOKENS: u64 = 1600;
/// What the frame of a message costs beside its text.
const MESSAGE_TOKENS: u64 = 8;
/// What a model may read that the request does not say: the system message that its template has for those without one, such
/// as SmolLM2's and Qwen's with some 20 tokens.
const TEMPLATE_TOKENS: u64 = 64;
/// What a provider may write of its own beside tools: Anthropic's is 530 tokens at the most.
const TOOLS_TOKENS: u64 = 600;

/// A request for one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// A model or an alias of the catalog.
    pub model: String,
    /// The conversation, oldest first; at least one message.
    pub messages: Vec<Message>,
    /// The tools that may be called.
    pub tools: Vec<Tool>,
    /// Whether and which tools are called.
    pub tool_choice: ToolChoice,
    /// Whether more than one tool may be called at once; `None` leaves it to the provider.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the text.
    pub format: Format,
    /// Whether the model thinks before it answers.
    pub reasoning: Reasoning,
    /// The most tokens to write, those of reasoning included.
    pub output_tokens_max: Option<u32>,
    /// How the next token is drawn. A provider that lacks one of these ignores it.
    pub sampling: Sampling,
    /// Texts at which the model stops.
    pub stop: Vec<String>,
    /// Whether log probabilities are wanted, and of how many alternatives.
    pub logprobs: Option<u8>,
    /// OpenAI's `verbosity`: a hint.
    pub verbosity: Option<Verbosity>,
    /// Requests with the same key share a cached prefix at the provider: a hint.
    pub cache_key: Option<String>,
    /// Whether the answer comes in pieces.
    pub stream: bool,
    /// Whether the stream ends with its usage, as `stream_options.include_usage` asks.
    pub include_usage: bool,
    /// The client's own notes: up to 16 pairs, echoed and never sent on.
    pub metadata: Map<String, Value>,
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// What the model is told by whoever runs it: OpenAI's `system` and `developer`.
    System {
        /// The text.
        text: String,
        /// Who speaks, where several do.
        name: Option<String>,
    },
    /// What the user says and shows.
    User {
        /// Text and pictures, in order.
        parts: Vec<Part>,
        /// Who speaks, where several do.
        name: Option<String>,
    },
    /// What the model said before.
    Assistant(Assistant),
    /// What a tool gave.
    Tool {
        /// Which call it answers.
        call_id: String,
        /// The result.
        text: String,
    },
}

/// An earlier answer of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assistant {
    /// Its text.
    pub text: Option<String>,
    /// Why it did not answer.
    pub refusal: Option<String>,
    /// Its reasoning, as it came; providers that sign it want it back beside calls of tools.
    pub thoughts: Vec<Thought>,
    /// Its calls of tools.
    pub tool_calls: Vec<ToolCall>,
    /// Who speaks, where several do.
    pub name: Option<String>,
}

/// A part of what a user says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// Where it is.
        image: Image,
        /// `low`, `high` or `auto`.
        detail: Option<String>,
    },
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// The provider fetches it.
    Url(String),
    /// It came along, in base 64.
    Data {
        /// Such as `image/png`.
        media_type: String,
        /// Base 64, not decoded.
        base64: String,
    },
}

/// A function that the client offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// When to call it.
    pub description: Option<String>,
    /// A JSON schema of its arguments; `None` takes none.
    pub parameters: Option<Value>,
    /// Whether the arguments follow the schema to the letter.
    pub strict: Option<bool>,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call, for its result.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, a JSON text as the model wrote it.
    pub arguments: String,
    /// Gemini's seal on the reasoning behind the call.
    pub signature: Option<String>,
}

/// Whether tools are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None is called.
    None,
    /// At least one is called.
    Required,
    /// This one is called.
    Function(String),
}

/// The form of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON after a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether the answer follows it to the letter.
        strict: Option<bool>,
    },
}

/// Whether the model thinks first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// As the alias or the model has it.
    #[default]
    Default,
    /// Not at all, or as little as the model can.
    Off,
    /// It thinks.
    On {
        /// How hard; `None` leaves it to the model.
        effort: Option<Effort>,
        /// The most tokens of it.
        tokens_max: Option<u32>,
    },
}

/// How hard a model thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// As little as thinking can be.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// More than much.
    Xhigh,
    /// As much as the model can.
    Max,
}

impl Effort {
    /// OpenAI's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// How long answers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Short.
    Low,
    /// As usual.
    Medium,
    /// Long.
    High,
}

impl Verbosity {
    /// OpenAI's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// How the next token is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 always takes the likeliest token; up to 2.
    pub temperature: Option<f64>,
    /// Draw from the likeliest tokens of this summed probability.
    pub top_p: Option<f64>,
    /// Against what was said often.
    pub frequency_penalty: Option<f64>,
    /// Against what was said at all.
    pub presence_penalty: Option<f64>,
    /// The same seed draws the same tokens, as far as the provider can.
    pub seed: Option<i64>,
    /// By token of OpenAI's vocabulary.
    pub logit_bias: Map<String, Value>,
}

/// What a model must be able to do to answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Call tools.
    Tools,
    /// See pictures.
    Images,
    /// Answer with some JSON object.
    JsonObject,
    /// Answer after a JSON schema.
    JsonSchema,
    /// Give log probabilities, or be biased by token.
    Logprobs,
}

impl ChatRequest {
    /// A request with `messages` and every default.
    #[must_use]
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Self {
        Self {
            model: model.into(),
            messages,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: None,
            format: Format::Text,
            reasoning: Reasoning::Default,
            output_tokens_max: None,
            sampling: Sampling::default(),
            stop: Vec::new(),
            logprobs: None,
            verbosity: None,
            cache_key: None,
            stream: false,
            include_usage: false,
            metadata: Map::new(),
        }
    }

    /// What a model needs to answer this.
    pub fn needs(&self) -> impl Iterator<Item = Capability> {
        let is_image = |part: &Part| matches!(part, Part::Image { .. });
        let has_image = self.messages.iter().any(|message| match message {
            Message::User { parts, .. } => parts.iter().any(is_image),
            _ => false,
        });
        [
            (!self.tools.is_empty(), Capability::Tools),
            (has_image, Capability::Images),
            (self.format == Format::JsonObject, Capability::JsonObject),
            (matches!(self.format, Format::JsonSchema { .. }), Capability::JsonSchema),
            (self.logprobs.is_some() || !self.sampling.logit_bias.is_empty(), Capability::Logprobs),
        ]
        .into_iter()
        .filter_map(|(is_needed, capability)| is_needed.then_some(capability))
    }

    /// About how many tokens a model reads for this: for routes, and where nobody counted.
    #[must_use]
    pub fn estimate_input(&self) -> u64 {
        let (bytes, others) = self.measure();
        estimate_tokens(bytes) + others
    }

    /// As many tokens as a model reads for this and hardly ever more: what is held for the input. Text of few bytes a
    /// token, such as numbers, has two.
    #[must_use]
    pub fn input_max(&self) -> u64 {
        let (bytes, others) = self.measure();
        let unsaid = if self.tools.is_empty() { TEMPLATE_TOKENS } else { TEMPLATE_TOKENS + TOOLS_TOKENS };
        bytes.div_ceil(2) + others + unsaid
    }

    /// The bytes of all text, and the tokens of all else.
    fn measure(&self) -> (u64, u64) {
        let bytes = |text: &str| text.len() as u64;
        let mut images = 0;
        let mut total = 0;
        for message in &self.messages {
            total += match message {
                Message::System { text, .. } | Message::Tool { text, .. } => bytes(text),
                Message::User { parts, .. } => parts
                    .iter()
                    .map(|part| match part {
                        Part::Text(text) => bytes(text),
                        Part::Image { .. } => {
                            images += 1;
                            0
                        }
                    })
                    .sum(),
                Message::Assistant(said) => {
                    let calls = said.tool_calls.iter().map(|call| bytes(&call.name) + bytes(&call.arguments));
                    said.text.as_deref().map_or(0, bytes) + calls.sum::<u64>()
                }
            };
        }
        for tool in &self.tools {
            total += bytes(&tool.name) + tool.description.as_deref().map_or(0, bytes);
            total += tool.parameters.as_ref().map_or(0, |schema| bytes(&schema.to_string()));
        }
        if let Format::JsonSchema { schema, .. } = &self.format {
            total += bytes(&schema.to_string());
        }
        (total, IMAGE_TOKENS * images + MESSAGE_TOKENS * self.messages.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_for_the_input_is_more_than_what_it_is_about() {
        let image = Image::Url("https://x.test/a.png".into());
        let parts = vec![Part::Text("12345678".into()), Part::Image { image, detail: None }];
        let mut request = ChatRequest::new("m", vec![Message::User { parts, name: None }]);
        assert_eq!(request.estimate_input(), 2 + IMAGE_TOKENS + MESSAGE_TOKENS);
        assert_eq!(request.input_max(), 4 + IMAGE_TOKENS + MESSAGE_TOKENS + TEMPLATE_TOKENS);
        let parameters = Some(serde_json::json!({"type": "object"}));
        request.tools.push(Tool { name: "four".into(), description: None, parameters, strict: None });
        assert_eq!(request.estimate_input(), 2 + 1 + 5 + IMAGE_TOKENS + MESSAGE_TOKENS);
        // 8 bytes of text, 4 of the name, 17 of the parameters.
        assert_eq!(
            request.input_max(),
            29_u64.div_ceil(2) + IMAGE_TOKENS + MESSAGE_TOKENS + TEMPLATE_TOKENS + TOOLS_TOKENS
        );
    }
}
