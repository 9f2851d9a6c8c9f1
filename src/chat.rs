//! The language models of a running server: its providers with their keys, or the model in this process.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Context;
use api::{
    Chat,
    chat::{ChatMetrics, Terms},
};
use ledger::{Micros, Timestamp};
use llm::{Alias, BreakerPolicy, Breakers, Catalog, Driver, ModelConfig, Provider, Reasoning, Secret, Task};

use crate::config::{KeyAt, LlmConfig, ProviderConfig};

const ALIASES: [(&str, Reasoning); 2] =
    [("kai-fast", Reasoning::Off), ("kai-smart", Reasoning::On { effort: None, tokens_max: None })];

/// The models that are configured; `None` if there are none.
///
/// # Errors
/// A provider has no key where the configuration says, the models contradict each other, or the local model cannot be read.
pub async fn open(config: &LlmConfig, metrics: ChatMetrics, now: Timestamp) -> anyhow::Result<Option<Chat>> {
    let (mut providers, mut models) = (Vec::new(), config.models.clone());
    for provider in &config.providers {
        providers.push(Arc::new(remote(provider)?));
    }
    if providers.is_empty()
        && let Some((provider, model)) = local(config).await?
    {
        providers.push(Arc::new(provider));
        models.push(model);
    }
    if models.is_empty() {
        return Ok(None);
    }
    let aliases = aliases(config, &models);
    let tasks = config.tasks.iter().map(|(name, grade)| Task { name: name.clone(), grade: *grade }).collect();
    let catalog = Catalog::new(&providers, models, aliases, tasks, config.task_grade).context("[llm] is not right")?;
    let driver = Driver::new(config.limits, Arc::new(Breakers::new(BreakerPolicy::default())));
    let fee = |micros| Micros::new(micros).context("a fee of [llm] is too large");
    let terms = Terms {
        fee: fee(config.fee_micros)?,
        own_key_fee: fee(config.own_key_fee_micros)?,
        output_tokens: config.output_tokens,
        total: config.limits.total,
        drain: config.drain,
    };
    let since_s = Duration::from_nanos(now.nanos()).as_secs();
    let driver = driver.context("the system gives no randomness for TLS")?;
    Ok(Some(Chat::new(catalog, driver, metrics, terms, since_s)))
}

fn remote(config: &ProviderConfig) -> anyhow::Result<Provider> {
    let ProviderConfig { name, dialect, base_url, key, on_disconnect } = config;
    let text = match key {
        None => None,
        Some(KeyAt::Env(variable)) => {
            let read = std::env::var(variable);
            Some(read.with_context(|| format!("the key of the provider {name}: {variable} is not set"))?)
        }
        Some(KeyAt::File(path)) => {
            let read = fs::read_to_string(path);
            Some(read.with_context(|| format!("the key of the provider {name}: {} cannot be read", path.display()))?)
        }
    };
    let secret = |text: String| {
        // What is there is not repeated: it may be a key all the same.
        Secret::new(text.trim())
            .with_context(|| format!("the key of the provider {name} is not up to 512 printable characters"))
    };
    Ok(Provider::from(llm::ProviderConfig {
        name: name.clone(),
        dialect: *dialect,
        base_url: base_url.clone(),
        key: text.map(secret).transpose()?,
        on_disconnect: *on_disconnect,
    }))
}

/// Without aliases of its own, a configuration has those that everybody knows.
fn aliases(config: &LlmConfig, models: &[ModelConfig]) -> Vec<Alias> {
    if !config.aliases.is_empty() {
        return config.aliases.clone();
    }
    let ids: Vec<_> = models.iter().map(|model| model.id.clone()).collect();
    let alias = |(id, reasoning): (&str, _)| Alias { id: id.to_owned(), models: ids.clone(), reasoning };
    ALIASES.into_iter().map(alias).collect()
}

/// The model in this process, if its weights are there.
#[cfg(feature = "local")]
async fn local(config: &LlmConfig) -> anyhow::Result<Option<(Provider, ModelConfig)>> {
    use llm::{
        Price, Rates, Thinking,
        providers::local::{CONTEXT_TOKENS, Local},
    };
    let path = config.local_model.clone();
    if !path.is_file() {
        tracing::info!(path = %path.display(), "no local model; api/llm/model/fetch.sh FOLDER fetches it");
        return Ok(None);
    }
    let shown = path.display().to_string();
    let loaded = tokio::task::spawn_blocking(move || Local::load(&path)).await?;
    let local = loaded.with_context(|| format!("the local model {shown} cannot be loaded"))?;
    let rates = Rates { input: 20_000, cache_read: 20_000, cache_write: 20_000, output: 80_000 };
    let model = ModelConfig {
        id: "smollm2-135m-instruct".to_owned(),
        provider: "local".to_owned(),
        upstream: "SmolLM2-135M-Instruct".to_owned(),
        price: Price { rates, long: None },
        context_tokens: CONTEXT_TOKENS as u64,
        output_tokens_max: 1024,
        // It is all that there is: every task is for it.
        grade: u8::MAX,
        capabilities: Vec::new(),
        thinking: Thinking::None,
    };
    Ok(Some((Provider::local("local", local), model)))
}

#[cfg(not(feature = "local"))]
async fn local(_: &LlmConfig) -> anyhow::Result<Option<(Provider, ModelConfig)>> {
    Ok(None)
}
