//! `GET /v1/models`: what can be called, what stands behind it, and what it costs.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use llm::{Alias, Model, Reasoning, routing::RouteError};
use serde_json::{Value, json};

use super::{
    Chat, Terms,
    shapes::{ModelList, ModelShape},
};
use crate::{
    access::Member,
    problem::Problem,
    routes::{App, fresh},
    segment::Segment,
};

/// Which models are there?
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "models",
    tag = "models",
    responses((status = 200, description = "Aliases and models, with their prices.", body = ModelList)),
)]
pub(crate) async fn list(State(app): State<App>, member: Member) -> Result<Response, Problem> {
    member.needs(auth::Scope::Read)?;
    let all = |chat: &Arc<Chat>| -> Vec<_> {
        let aliases = chat.catalog.aliases().map(|alias| chat.alias(alias));
        aliases.chain(chat.catalog.models().map(|model| chat.model(model))).collect()
    };
    let data = app.accounts()?.chat.as_ref().map(all).unwrap_or_default();
    Ok(fresh(Json(json!({"object": "list", "data": data}))))
}

/// What is this model?
#[utoipa::path(
    get,
    path = "/v1/models/{*id}",
    operation_id = "model",
    tag = "models",
    params(("id" = String, Path, description = "A model or an alias.")),
    responses(
        (status = 200, description = "The model.", body = ModelShape),
        (status = 404, description = "`model_not_found`."),
    ),
)]
pub(crate) async fn one(State(app): State<App>, member: Member, Segment(id): Segment) -> Result<Response, Problem> {
    member.needs(auth::Scope::Read)?;
    let chat = app.chat()?;
    let alias = chat.catalog.alias(&id).map(|alias| chat.alias(alias));
    let found = alias.or_else(|| chat.catalog.model(&id).map(|model| chat.model(model)));
    let unknown = || RouteError::UnknownModel(id.chars().take(128).collect());
    Ok(fresh(Json(found.ok_or_else(unknown)?)))
}

impl Chat {
    fn model(&self, model: &Model) -> Value {
        let config = &model.config;
        json!({
            "id": config.id,
            "object": "model",
            "created": self.since_s,
            "owned_by": config.provider,
            "upstream": config.upstream,
            "pricing": pricing(model, &self.terms),
            "context_length": config.context_tokens,
            "max_output_tokens": config.output_tokens_max,
            "capabilities": config.capabilities,
            "thinking": config.thinking,
        })
    }

    /// An alias is described by the model that answers first.
    fn alias(&self, alias: &Alias) -> Value {
        let first = alias.models.first().and_then(|id| self.catalog.model(id));
        let mut whole = first.map_or_else(|| json!({}), |first| self.model(first));
        if let Some(whole) = whole.as_object_mut() {
            whole.insert("id".to_owned(), json!(alias.id));
            whole.insert("models".to_owned(), json!(alias.models));
            let is_on = match alias.reasoning {
                Reasoning::Default => Value::Null,
                Reasoning::Off => json!(false),
                Reasoning::On { .. } => json!(true),
            };
            whole.insert("reasoning_default".to_owned(), is_on);
        }
        whole
    }
}

/// Whole micros for a million tokens, and for each call.
pub(super) fn pricing(model: &Model, terms: &Terms) -> Value {
    let rates = model.config.price.rates;
    json!({
        "input_micros_per_million": rates.input,
        "cache_read_micros_per_million": rates.cache_read,
        "cache_write_micros_per_million": rates.cache_write,
        "output_micros_per_million": rates.output,
        "fee_micros": terms.fee.get(),
    })
}
