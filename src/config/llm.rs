//! The part of the configuration that is about language models: `[llm]`, as its text has it and as it is meant.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use llm::{Alias, Dialect, Limits, ModelConfig, OnDisconnect};
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    DATA_FOLDER,
    file::{Bounded, File, Url},
};

/// What `api/llm/model/fetch.sh` brings.
const LOCAL_FILE: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
/// Tasks that the cheapest models are good enough for.
const CHEAP_TASKS: [&str; 6] = ["caption", "classify", "follow_up", "reply", "short_copy", "summarize"];
const CHEAP_GRADE: u8 = 1;
/// The grade that all other tasks take.
const TASK_GRADE: u8 = 2;

/// Which models there are, what they cost and how long they may take.
#[derive(Clone, Debug)]
pub struct LlmConfig {
    /// What a call costs beside its tokens, in micros.
    pub fee_micros: u64,
    /// What a call costs with a key of the caller's own, in micros.
    pub own_key_fee_micros: u64,
    /// The most tokens of an answer where the request says nothing.
    pub output_tokens: u32,
    /// How long a stream is read on for a client that has left.
    pub drain: Duration,
    /// How long a call may take in its parts, and how often it is tried.
    pub limits: Limits,
    /// Who serves models.
    pub providers: Vec<ProviderConfig>,
    /// The weights of a model in this process. Without providers it answers, if the program has the feature and the file is there.
    pub local_model: PathBuf,
    /// The models; each has a price.
    pub models: Vec<ModelConfig>,
    /// Names for models; without any, `kai-fast` and `kai-smart` are all models in order.
    pub aliases: Vec<Alias>,
    /// The grade of each task.
    pub tasks: BTreeMap<String, u8>,
    /// The grade of tasks that are not listed.
    pub task_grade: u8,
}

/// A provider and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// What models and requests call it.
    pub name: String,
    /// Its language.
    pub dialect: Dialect,
    /// What stands before the paths of its API.
    pub base_url: String,
    /// Where its key is.
    pub key: Option<KeyAt>,
    /// What becomes of streams that nobody reads any more.
    pub on_disconnect: OnDisconnect,
}

/// Where a key is: the configuration names the place and never has the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAt {
    /// In a variable of the environment.
    Env(String),
    /// In a file.
    File(PathBuf),
}

/// `[llm]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LlmFile {
    fee_micros: Option<Bounded<0, 1_000_000_000>>,
    own_key_fee_micros: Option<Bounded<0, 1_000_000_000>>,
    output_tokens: Option<Bounded<1, 1_000_000>>,
    connect_ms: Option<Bounded<1, 600_000>>,
    first_token_ms: Option<Bounded<1, 3_600_000>>,
    idle_ms: Option<Bounded<1, 3_600_000>>,
    total_ms: Option<Bounded<1, 86_400_000>>,
    drain_ms: Option<Bounded<0, 3_600_000>>,
    retries: Option<Bounded<0, 10>>,
    local_model: Option<PathBuf>,
    task_grade: Option<u8>,
    tasks: Option<BTreeMap<String, u8>>,
    #[serde(default)]
    providers: BTreeMap<ProviderName, ProviderFile>,
    models: Option<Vec<ModelConfig>>,
    aliases: Option<Vec<Alias>>,
}

/// `[llm.providers.NAME]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderFile {
    dialect: Option<Dialect>,
    base_url: Option<Url<false>>,
    key_env: Option<String>,
    key_file: Option<PathBuf>,
    on_disconnect: Option<OnDisconnect>,
}

/// The name of a provider: it stands in rows of usage and in headers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ProviderName(String);

impl<'de> Deserialize<'de> for ProviderName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > 32 || name == "auto" || !name.bytes().all(allowed) {
            let remedy = "use 1 to 32 small letters, digits, - or _, and not `auto`";
            return Err(D::Error::custom(format!("{name:?} is no name for a provider; {remedy}")));
        }
        Ok(Self(name))
    }
}

/// Puts the settings of `over` in place of these.
pub(super) fn apply(file: &mut LlmFile, over: LlmFile) {
    fn put<T>(old: &mut Option<T>, new: Option<T>) {
        if new.is_some() {
            *old = new;
        }
    }
    put(&mut file.fee_micros, over.fee_micros);
    put(&mut file.own_key_fee_micros, over.own_key_fee_micros);
    put(&mut file.output_tokens, over.output_tokens);
    put(&mut file.connect_ms, over.connect_ms);
    put(&mut file.first_token_ms, over.first_token_ms);
    put(&mut file.idle_ms, over.idle_ms);
    put(&mut file.total_ms, over.total_ms);
    put(&mut file.drain_ms, over.drain_ms);
    put(&mut file.retries, over.retries);
    put(&mut file.local_model, over.local_model);
    put(&mut file.task_grade, over.task_grade);
    put(&mut file.tasks, over.tasks);
    put(&mut file.models, over.models);
    put(&mut file.aliases, over.aliases);
    for (name, new) in over.providers {
        let provider = file.providers.entry(name).or_default();
        put(&mut provider.dialect, new.dialect);
        put(&mut provider.base_url, new.base_url);
        put(&mut provider.key_env, new.key_env);
        put(&mut provider.key_file, new.key_file);
        put(&mut provider.on_disconnect, new.on_disconnect);
    }
}

/// What a file says of models.
pub(super) fn llm(file: &File) -> LlmConfig {
    let (llm, usual) = (&file.llm, Limits::default());
    fn number<const MIN: i64, const MAX: i64>(given: Option<Bounded<MIN, MAX>>) -> Option<u64> {
        given.map(|number| number.0.unsigned_abs())
    }
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let limits = Limits {
        connect: number(llm.connect_ms).map_or(usual.connect, Duration::from_millis),
        first_token: number(llm.first_token_ms).map_or(usual.first_token, Duration::from_millis),
        idle: number(llm.idle_ms).map_or(usual.idle, Duration::from_millis),
        total: number(llm.total_ms).map_or(usual.total, Duration::from_millis),
        retries: number(llm.retries).map_or(usual.retries, small),
        ..usual
    };
    let tasks = || CHEAP_TASKS.map(|task| (task.to_owned(), CHEAP_GRADE)).into();
    LlmConfig {
        fee_micros: number(llm.fee_micros).unwrap_or(100),
        own_key_fee_micros: number(llm.own_key_fee_micros).unwrap_or(500),
        output_tokens: number(llm.output_tokens).map_or(4096, small),
        drain: Duration::from_millis(number(llm.drain_ms).unwrap_or(120_000)),
        limits,
        providers: llm.providers.iter().map(|(name, provider)| provider.meant(&name.0)).collect(),
        local_model: llm.local_model.clone().unwrap_or_else(|| PathBuf::from(DATA_FOLDER).join(LOCAL_FILE)),
        models: llm.models.clone().unwrap_or_default(),
        aliases: llm.aliases.clone().unwrap_or_default(),
        tasks: llm.tasks.clone().unwrap_or_else(tasks),
        task_grade: llm.task_grade.unwrap_or(TASK_GRADE),
    }
}

impl ProviderFile {
    /// A provider speaks what its name says where nothing else is said, and is where that is spoken.
    fn meant(&self, name: &str) -> ProviderConfig {
        let dialect = self.dialect.unwrap_or(match name {
            "openai" => Dialect::Openai,
            "anthropic" => Dialect::Anthropic,
            "google" => Dialect::Gemini,
            "openrouter" => Dialect::Openrouter,
            "deepseek" => Dialect::Deepseek,
            _ => Dialect::OpenaiCompatible,
        });
        let usual = match dialect {
            Dialect::Anthropic => "https://api.anthropic.com/v1",
            Dialect::Gemini => "https://generativelanguage.googleapis.com/v1beta",
            Dialect::Openrouter => "https://openrouter.ai/api/v1",
            Dialect::Deepseek => "https://api.deepseek.com/v1",
            Dialect::Openai | Dialect::OpenaiCompatible | Dialect::Vllm => "https://api.openai.com/v1",
        };
        let file = self.key_file.clone().map(KeyAt::File);
        ProviderConfig {
            name: name.to_owned(),
            dialect,
            base_url: self.base_url.as_ref().map_or_else(|| usual.to_owned(), |url| url.0.clone()),
            key: self.key_env.clone().map(KeyAt::Env).or(file),
            on_disconnect: self.on_disconnect.unwrap_or_default(),
        }
    }
}
