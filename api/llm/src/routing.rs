//! Who may answer a request, in which order, and why the others may not.

use std::sync::Arc;

use crate::{
    catalog::{Catalog, Model},
    request::{Capability, ChatRequest, Reasoning},
    usage::Tokens,
};

/// The length of an answer by which routes are compared, where the request sets none.
const OUTPUT_TOKENS_TYPICAL: u32 = 512;

/// The most targets of one call.
pub const TARGETS_MAX: usize = 8;

/// Why a model does not get a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// It cannot do this.
    Lacks(Capability),
    /// It is not good enough for the task.
    Grade,
    /// It reads less than this request is long.
    Context,
    /// Another provider was asked for.
    Provider,
    /// Its cost has no number.
    Cost,
}

/// A model that was considered.
#[derive(Clone)]
pub struct Candidate {
    /// The model.
    pub model: Arc<Model>,
    /// What the request would cost there in micros, with an answer of the length that it allows or of a typical one.
    pub cost: u64,
    /// Why it does not get the request; `None` if it may.
    pub excluded: Option<Exclusion>,
}

/// Who may answer.
pub struct Route {
    /// The models in the order in which they are asked; at least one.
    pub targets: Vec<Arc<Model>>,
    /// Whether the model thinks, by the request or else by the alias.
    pub reasoning: Reasoning,
    /// All models that were considered, those of `targets` first.
    pub candidates: Vec<Candidate>,
}

/// Nobody may answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No model and no alias has this name.
    #[error("The model '{0}' does not exist or you do not have access to it.")]
    UnknownModel(String),
    /// The model or all models of the alias lack something.
    #[error("The model '{model}' does not support {}.", capability_name(*lacks))]
    NotCapable {
        /// As the request names it.
        model: String,
        /// What it lacks.
        lacks: Capability,
    },
    /// No model of the catalog is fit for the task.
    #[error("No model can take this task.")]
    NoneFits,
}

/// What clients call a capability.
fn capability_name(capability: Capability) -> &'static str {
    match capability {
        Capability::Tools => "'tools'",
        Capability::Images => "image input",
        Capability::JsonObject => "'response_format' of type 'json_object'",
        Capability::JsonSchema => "'response_format' of type 'json_schema'",
        Capability::Logprobs => "'logprobs' and 'logit_bias'",
    }
}

/// The targets of a request that names a model or an alias: the models of the alias in its order.
///
/// # Errors
/// [`RouteError`], if the name is unknown or nobody behind it can do what the request needs.
pub fn by_name(catalog: &Catalog, request: &ChatRequest) -> Result<Route, RouteError> {
    let (names, alias_reasoning) = match catalog.alias(&request.model) {
        Some(alias) => (alias.models.as_slice(), alias.reasoning),
        None => (std::slice::from_ref(&request.model), Reasoning::Default),
    };
    let candidates: Vec<_> =
        names.iter().filter_map(|name| catalog.model(name)).map(|model| consider(model, request, |_| None)).collect();
    let lacks = candidates.iter().find_map(|candidate| match candidate.excluded {
        Some(Exclusion::Lacks(lacks)) => Some(lacks),
        _ => None,
    });
    let reasoning = if request.reasoning == Reasoning::Default { alias_reasoning } else { request.reasoning };
    finish(candidates, reasoning).ok_or_else(|| match lacks {
        Some(lacks) => RouteError::NotCapable { model: request.model.clone(), lacks },
        None => RouteError::UnknownModel(request.model.clone()),
    })
}

/// The targets of a task: the cheapest capable model first. `provider` narrows the choice.
///
/// # Errors
/// [`RouteError::NoneFits`].
pub fn by_task(
    catalog: &Catalog,
    request: &ChatRequest,
    task: Option<&str>,
    provider: Option<&str>,
) -> Result<Route, RouteError> {
    let candidates = explain_task(catalog, request, task, provider);
    finish(candidates, request.reasoning).ok_or(RouteError::NoneFits)
}

/// All models as [`by_task`] sees them, the chosen one first.
#[must_use]
pub fn explain_task(
    catalog: &Catalog,
    request: &ChatRequest,
    task: Option<&str>,
    provider: Option<&str>,
) -> Vec<Candidate> {
    let grade = catalog.grade_of(task);
    let output = request.output_tokens_max.unwrap_or(OUTPUT_TOKENS_TYPICAL);
    let length = request.estimate_input().saturating_add(output.into());
    let fits = |model: &Model| {
        if provider.is_some_and(|provider| provider != model.config.provider) {
            return Some(Exclusion::Provider);
        }
        if model.config.grade < grade {
            return Some(Exclusion::Grade);
        }
        (length > model.config.context_tokens).then_some(Exclusion::Context)
    };
    let mut candidates: Vec<_> = catalog.models().map(|model| consider(model, request, fits)).collect();
    candidates.sort_by_key(|candidate| (candidate.excluded.is_some(), candidate.cost));
    candidates
}

fn consider(model: &Arc<Model>, request: &ChatRequest, exclude: impl FnOnce(&Model) -> Option<Exclusion>) -> Candidate {
    let output = request.output_tokens_max.unwrap_or(OUTPUT_TOKENS_TYPICAL).min(model.config.output_tokens_max);
    let tokens = Tokens { input: request.estimate_input(), output: output.into(), ..Tokens::default() };
    let cost = model.config.price.cost(&tokens);
    let lacks = request.needs().find(|capability| !model.can(*capability)).map(Exclusion::Lacks);
    let excluded = exclude(model).or(lacks).or(cost.is_none().then_some(Exclusion::Cost));
    Candidate { model: Arc::clone(model), cost: cost.unwrap_or(u64::MAX), excluded }
}

fn finish(candidates: Vec<Candidate>, reasoning: Reasoning) -> Option<Route> {
    let may = candidates.iter().filter(|candidate| candidate.excluded.is_none());
    let targets: Vec<_> = may.take(TARGETS_MAX).map(|candidate| Arc::clone(&candidate.model)).collect();
    (!targets.is_empty()).then_some(Route { targets, reasoning, candidates })
}
