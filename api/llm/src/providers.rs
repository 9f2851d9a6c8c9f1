//! Who answers. A provider is three translations, of a request, of what comes back and of its errors, and a place to send to.

mod anthropic;
mod gemini;
#[cfg(feature = "local")]
pub mod local;
mod openai;

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;

pub use crate::field::RequestError;
use crate::{
    catalog::ModelConfig,
    event::Event,
    failure::{Failure, FailureKind},
    request::ChatRequest,
    secret::Secret,
};

/// A language that providers speak, with its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI's own chat completions.
    Openai,
    /// Chat completions as most others offer them; reasoning is left to the provider.
    OpenaiCompatible,
    /// OpenRouter: `reasoning` is an object, reasoning comes in details.
    Openrouter,
    /// DeepSeek: `thinking`, and `reasoning_content`.
    Deepseek,
    /// vLLM and SGLang: reasoning is an argument of the chat template.
    Vllm,
    /// Anthropic's messages.
    Anthropic,
    /// Google's `generateContent`.
    Gemini,
}

/// What to do with a stream that nobody reads any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// Close the connection: the provider stops, and stops billing.
    #[default]
    Cancel,
    /// Read to the end: the provider bills the whole answer anyway, and only the end tells how much that is.
    Drain,
}

/// What the configuration says of a provider that is reached over HTTP.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name, such as `openai`.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// What stands before `/chat/completions`, `/messages` or `/models/…`, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Our key there; a server of one's own may need none.
    #[serde(default)]
    pub key: Option<Secret>,
    /// What becomes of streams that nobody reads.
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
}

/// A provider of models.
pub struct Provider {
    /// Its name, such as `openai`.
    pub name: String,
    /// What becomes of streams that nobody reads.
    pub on_disconnect: OnDisconnect,
    pub(crate) endpoint: Endpoint,
}

pub(crate) enum Endpoint {
    Http {
        dialect: Dialect,
        base_url: String,
        key: Option<Secret>,
    },
    #[cfg(feature = "local")]
    Local(local::Local),
}

impl Provider {
    /// A provider that is reached over HTTP. `base_url` is what stands before `/chat/completions`, `/messages` or
    /// `/models/…`, such as `https://api.openai.com/v1`.
    #[must_use]
    pub fn http(name: impl Into<String>, dialect: Dialect, base_url: &str, key: Option<Secret>) -> Self {
        let base_url = base_url.trim_end_matches('/').to_owned();
        let endpoint = Endpoint::Http { dialect, base_url, key };
        Self { name: name.into(), on_disconnect: OnDisconnect::default(), endpoint }
    }

    /// The model in this process.
    #[cfg(feature = "local")]
    #[must_use]
    pub fn local(name: impl Into<String>, model: local::Local) -> Self {
        Self { name: name.into(), on_disconnect: OnDisconnect::Cancel, endpoint: Endpoint::Local(model) }
    }

    pub(crate) fn key(&self) -> Option<&Secret> {
        match &self.endpoint {
            Endpoint::Http { key, .. } => key.as_ref(),
            #[cfg(feature = "local")]
            Endpoint::Local(_) => None,
        }
    }

    /// Whether it is reached over HTTP, so that a caller's own key can be sent in place of ours.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.endpoint, Endpoint::Http { .. })
    }
}

impl From<ProviderConfig> for Provider {
    fn from(config: ProviderConfig) -> Self {
        let provider = Self::http(config.name, config.dialect, &config.base_url, config.key);
        Self { on_disconnect: config.on_disconnect, ..provider }
    }
}

/// A request as it goes over the wire.
#[derive(Debug)]
pub struct Wire {
    /// What follows the base URL.
    pub path: String,
    /// The body, JSON.
    pub body: Vec<u8>,
}

/// What came in place of an event.
#[derive(Debug)]
pub enum WireError {
    /// It is not what the provider's wire allows. One such message is skipped.
    Malformed(String),
    /// The provider says that it failed. The stream is over.
    Failed(Failure),
}

/// Whether more is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The stream goes on.
    More,
    /// The provider said that this was all.
    Done,
}

/// Translates one answer, message by message.
pub trait Decoder: Send {
    /// Adds the events of one message of the stream, or of the body of an answer that is not streamed.
    ///
    /// # Errors
    /// [`WireError`], after which events of the same message may have been added.
    fn decode(&mut self, data: &str, events: &mut Vec<Event>) -> Result<Flow, WireError>;
}

impl Dialect {
    /// Translates a request for `model`.
    ///
    /// # Errors
    /// [`RequestError`] if this provider cannot be asked that.
    pub fn encode(self, request: &ChatRequest, model: &ModelConfig) -> Result<Wire, RequestError> {
        match self {
            Self::Anthropic => anthropic::encode(request, model),
            Self::Gemini => gemini::encode(request, model),
            _ => openai::encode(self, request, model),
        }
    }

    /// Translates one answer.
    #[must_use]
    pub fn decoder(self) -> Box<dyn Decoder> {
        match self {
            Self::Anthropic => Box::<anthropic::Answer>::default(),
            Self::Gemini => Box::<gemini::Answer>::default(),
            _ => Box::<openai::Answer>::default(),
        }
    }

    /// Translates an answer with an error status.
    #[must_use]
    pub fn failure(self, status: u16, body: &[u8]) -> Failure {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match self {
            Self::Anthropic => anthropic::failure(Some(status), &body),
            Self::Gemini => gemini::failure(Some(status), &body),
            _ => openai::failure(Some(status), &body),
        }
    }

    /// The headers that carry the key and the version of the wire.
    pub(crate) fn headers(self, key: Option<&Secret>) -> Vec<(HeaderName, HeaderValue)> {
        let (name, prefix) = match self {
            Self::Anthropic => ("x-api-key", ""),
            Self::Gemini => ("x-goog-api-key", ""),
            _ => ("authorization", "Bearer "),
        };
        let key = key.and_then(|key| key.header(prefix)).map(|value| (HeaderName::from_static(name), value));
        let version = (self == Self::Anthropic)
            .then(|| (HeaderName::from_static("anthropic-version"), HeaderValue::from_static(anthropic::VERSION)));
        key.into_iter().chain(version).collect()
    }
}

fn malformed(error: impl std::fmt::Display) -> WireError {
    WireError::Malformed(error.to_string())
}

/// The request asks for something that `who` does not offer. Routes that look at [`Capability`](crate::Capability) do not
/// come here.
fn not_offered(param: &str, who: &str) -> RequestError {
    let message = format!("Unsupported parameter: '{param}' is not offered by {who}.");
    RequestError { param: Some(param.to_owned()), code: "unsupported_parameter", message }
}

/// The arguments of an earlier call, which the model wrote as JSON and the client gave back.
fn parse_arguments(arguments: &str) -> Result<Value, RequestError> {
    if arguments.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str::<Value>(arguments).ok().filter(Value::is_object).ok_or_else(|| RequestError {
        param: Some("messages".to_owned()),
        code: "invalid_value",
        message: "Invalid 'messages': the arguments of a tool call are not a JSON object.".to_owned(),
    })
}

/// What a message says beyond its status: every provider has its own words for a request that is too long.
fn is_about_length(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["context length", "context window", "prompt is too long", "exceeds the maximum number of tokens", "context size"]
        .iter()
        .any(|words| message.contains(words))
}

fn failure_of(status: Option<u16>, kind: FailureKind, message: Option<&str>) -> Failure {
    let message = message.unwrap_or("the provider gave no reason");
    Failure { status, ..Failure::new(kind, message) }
}
