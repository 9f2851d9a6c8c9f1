//! Names and tasks to models, and why not.

use std::sync::Arc;

use llm::{
    Alias, Capability, Catalog, CatalogError, ChatRequest, Dialect, ModelConfig, OnDisconnect, Price, Provider,
    ProviderConfig, Rates, Reasoning, Task, Thinking,
    routing::{Exclusion, RouteError, by_name, by_task, explain_task},
};
use serde_json::{Value, json};

use crate::wire;

fn providers() -> Vec<Arc<Provider>> {
    let provider = |name: &str, dialect| Arc::new(Provider::http(name, dialect, "http://127.0.0.1:1", None));
    vec![provider("google", Dialect::Gemini), provider("anthropic", Dialect::Anthropic)]
}

fn model(id: &str, provider: &str, output_rate: u64, grade: u8) -> ModelConfig {
    let rates = Rates { input: output_rate / 4, cache_read: 0, cache_write: 0, output: output_rate };
    ModelConfig { price: Price { rates, long: None }, grade, ..wire::model(id, provider, Thinking::Toggle) }
}

fn alias(id: &str, models: &[&str], reasoning: Reasoning) -> Alias {
    Alias { id: id.into(), models: models.iter().map(|model| (*model).to_owned()).collect(), reasoning }
}

const ON: Reasoning = Reasoning::On { effort: None, tokens_max: None };

fn catalog() -> Catalog {
    let mut plain = model("plain", "google", 100, 1);
    plain.capabilities = vec![];
    plain.context_tokens = 1_000;
    let models = vec![
        plain,
        model("gemini-flash", "google", 2_500_000, 1),
        model("gemini-pro", "google", 20_000_000, 2),
        model("sonnet", "anthropic", 15_000_000, 2),
    ];
    let aliases = vec![
        alias("kai-fast", &["plain", "gemini-flash", "sonnet"], Reasoning::Off),
        alias("kai-smart", &["sonnet", "gemini-pro"], ON),
    ];
    let tasks = ["caption", "summarize"].map(|name| Task { name: name.into(), grade: 1 });
    Catalog::new(&providers(), models, aliases, tasks.into(), 2).unwrap()
}

fn request(members: &Value) -> ChatRequest {
    let mut body = json!({"model": "kai-fast", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    wire::parse(&body)
}

fn names(targets: &[Arc<llm::Model>]) -> Vec<&str> {
    targets.iter().map(|model| model.config.id.as_str()).collect()
}

#[test]
fn an_alias_is_its_models_in_order_and_its_reasoning_gives_way_to_the_request() {
    let catalog = catalog();
    let route = by_name(&catalog, &request(&json!({}))).unwrap();
    assert_eq!((names(&route.targets), route.reasoning), (vec!["plain", "gemini-flash", "sonnet"], Reasoning::Off));
    let route = by_name(&catalog, &request(&json!({"model": "kai-smart"}))).unwrap();
    assert_eq!((names(&route.targets), route.reasoning), (vec!["sonnet", "gemini-pro"], ON));
    let route = by_name(&catalog, &request(&json!({"model": "kai-smart", "reasoning": false}))).unwrap();
    assert_eq!(route.reasoning, Reasoning::Off);
    let route = by_name(&catalog, &request(&json!({"model": "gemini-pro"}))).unwrap();
    assert_eq!((names(&route.targets), route.reasoning), (vec!["gemini-pro"], Reasoning::Default));
}

#[test]
fn a_model_that_lacks_what_the_request_needs_is_passed_over_or_named() {
    let catalog = catalog();
    let tools = json!([{"type": "function", "function": {"name": "x"}}]);
    let route = by_name(&catalog, &request(&json!({"tools": tools}))).unwrap();
    assert_eq!(names(&route.targets), ["gemini-flash", "sonnet"]);
    let lacking = route.candidates.iter().find(|candidate| candidate.model.config.id == "plain").unwrap();
    assert_eq!(lacking.excluded, Some(Exclusion::Lacks(Capability::Tools)));
    for (members, lacks) in [
        (json!({"tools": tools}), Capability::Tools),
        (json!({"logprobs": true}), Capability::Logprobs),
        (json!({"logit_bias": {"1": 1}}), Capability::Logprobs),
        (json!({"response_format": {"type": "json_object"}}), Capability::JsonObject),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}),
            Capability::JsonSchema,
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test"}}]}]}),
            Capability::Images,
        ),
    ] {
        let mut request = request(&members);
        request.model = "plain".into();
        assert_eq!(by_name(&catalog, &request).err(), Some(RouteError::NotCapable { model: "plain".into(), lacks }));
    }
    let error = by_name(&catalog, &request(&json!({"model": "gpt-9"}))).err();
    assert_eq!(error, Some(RouteError::UnknownModel("gpt-9".into())));
}

#[test]
fn a_task_goes_to_the_cheapest_model_that_is_good_enough() {
    let catalog = catalog();
    let route = |task, provider, members: &Value| {
        by_task(&catalog, &request(members), task, provider).map(|route| names(&route.targets).join(" "))
    };
    assert_eq!(route(Some("caption"), None, &json!({})).unwrap(), "plain gemini-flash sonnet gemini-pro");
    assert_eq!(route(Some("strategy"), None, &json!({})).unwrap(), "sonnet gemini-pro");
    assert_eq!(route(None, None, &json!({})).unwrap(), "sonnet gemini-pro");
    assert_eq!(route(Some("caption"), Some("anthropic"), &json!({})).unwrap(), "sonnet");
    assert_eq!(route(Some("caption"), Some("nobody"), &json!({})), Err(RouteError::NoneFits));
    assert_eq!(route(Some("caption"), None, &json!({"max_tokens": 5000})).unwrap(), "gemini-flash sonnet gemini-pro");
}

#[test]
fn an_explanation_says_of_every_model_what_it_would_cost_or_why_not() {
    let candidates = explain_task(&catalog(), &request(&json!({"max_tokens": 1000})), None, Some("anthropic"));
    let told: Vec<_> =
        candidates.iter().map(|candidate| (candidate.model.config.id.as_str(), candidate.excluded)).collect();
    assert_eq!(
        told,
        [
            ("sonnet", None),
            ("plain", Some(Exclusion::Provider)),
            ("gemini-flash", Some(Exclusion::Provider)),
            ("gemini-pro", Some(Exclusion::Provider)),
        ]
    );
    // 9 tokens in, as estimated, at 3.75 micros and 1,000 out at 15.
    assert_eq!(candidates[0].cost, 15_034);
}

#[test]
fn a_catalog_that_contradicts_itself_is_refused() {
    let build = |models: Vec<ModelConfig>, aliases| Catalog::new(&providers(), models, aliases, vec![], 1).err();
    let one = || model("a", "google", 1, 1);
    assert!(matches!(build(vec![one(), one()], vec![]), Some(CatalogError::Twice(name)) if name == "a"));
    assert!(matches!(build(vec![model("a", "nobody", 1, 1)], vec![]), Some(CatalogError::NoProvider { .. })));
    let wrong = |models: &[&str]| build(vec![one()], vec![alias("x", models, Reasoning::Default)]);
    assert!(matches!(wrong(&["a", "b"]), Some(CatalogError::NoModel { model, .. }) if model == "b"));
    assert!(matches!(wrong(&[]), Some(CatalogError::NoModel { .. })));
    assert!(matches!(build(vec![one()], vec![alias("a", &["a"], Reasoning::Default)]), Some(CatalogError::Twice(_))));
}

#[test]
fn a_configuration_is_read_with_every_rate_and_nothing_that_is_unknown() {
    let config = json!({
        "id": "m", "provider": "p", "upstream": "u", "context_tokens": 1, "output_tokens_max": 1, "grade": 1,
        "price": {"input": 1, "cache_read": 2, "cache_write": 3, "output": 4, "long": {"input_tokens_above": 9, "input": 5, "cache_read": 6, "cache_write": 7, "output": 8}},
        "capabilities": ["tools", "json_schema"], "thinking": "toggle",
    });
    let read = |config: &Value| serde_json::from_value::<ModelConfig>(config.clone());
    let model = read(&config).unwrap();
    assert_eq!((model.price.rates(9).input, model.price.rates(10).input), (1, 5));
    assert_eq!(model.capabilities, [Capability::Tools, Capability::JsonSchema]);
    let mut without = config.clone();
    without["price"].as_object_mut().unwrap().remove("output");
    assert!(read(&without).unwrap_err().to_string().contains("output"));
    let mut unknown = config;
    unknown["pricce"] = json!(1);
    assert!(read(&unknown).is_err());
    let alias: Alias =
        serde_json::from_value(json!({"id": "kai-smart", "models": ["m"], "reasoning": {"on": {"effort": "high"}}}))
            .unwrap();
    assert!(matches!(alias.reasoning, Reasoning::On { effort: Some(llm::Effort::High), tokens_max: None }));
}

#[test]
fn a_provider_is_configured_by_its_dialect_and_a_key_that_no_error_shows() {
    let config =
        |key: &str| json!({"name": "or", "dialect": "openrouter", "base_url": "https://x.test/v1/", "key": key});
    let read = |config: Value| serde_json::from_value::<ProviderConfig>(config);
    let provider = Provider::from(read(config("sk-planted")).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!((provider.name.as_str(), provider.on_disconnect), ("or", OnDisconnect::Cancel));
    let error = read(config("sk planted")).err().unwrap().to_string();
    assert!(!error.contains("planted"), "{error}");
    let mut drained = config("k");
    drained["on_disconnect"] = json!("drain");
    assert_eq!(read(drained).ok().map(|config| config.on_disconnect), Some(OnDisconnect::Drain));
    let mut unknown = config("k");
    unknown["dialect"] = json!("latin");
    assert!(read(unknown).is_err());
}
