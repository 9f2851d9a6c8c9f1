//! The OpenAPI document: what is served, what is committed, and whether it is true.

use std::{collections::HashSet, env, fs, path::Path};

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::accounts::stage::{Setup, Stage};

/// The copy that people and programs read without a server.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.json");

async fn document(stage: &Stage) -> Value {
    let answer = stage.ask(Method::GET, "/v1/openapi.json", &[], None).await.sure(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.body
}

/// Method, path and description of each operation.
fn operations(document: &Value) -> Vec<(Method, &str, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase().parse().unwrap(), path.as_str(), operation));
        }
    }
    found
}

/// What a `$ref` leads to, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path} leads nowhere")),
        None => value,
    }
}

#[tokio::test]
async fn the_committed_document_is_that_of_the_routes() {
    let stage = Stage::sqlite(Setup::default()).await;
    let served = document(&stage).await;
    if env::var_os("KANDLE_BLESS").is_some_and(|value| value == "1") {
        fs::write(COMMITTED, serde_json::to_string_pretty(&served).unwrap() + "\n").unwrap();
    }
    let committed = fs::read_to_string(Path::new(COMMITTED)).unwrap_or_default();
    let committed: Value = serde_json::from_str(&committed).unwrap_or_default();
    assert!(
        served == committed,
        "openapi.json is not what the routes say. If the change is meant, write it anew and commit it:\n    \
         KANDLE_BLESS=1 cargo test -p api --test it document"
    );
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let stage = Stage::sqlite(Setup::default()).await;
    let document = document(&stage).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut waiting = vec![&document];
    while let Some(value) = waiting.pop() {
        resolved(&document, value);
        match value {
            Value::Object(members) => waiting.extend(members.values()),
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
    let operations = operations(&document);
    let names: HashSet<_> =
        operations.iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len());
    for (method, path, operation) in &operations {
        assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
        assert!(operation["responses"]["default"].is_object(), "{method} {path}");
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let given = operation["parameters"].as_array().unwrap();
            assert!(given.iter().any(|given| given["name"] == name && given["in"] == "path"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn errors_have_the_shape_and_headers_that_the_document_says() {
    let stage = Stage::sqlite(Setup { is_limited: true, ..Setup::default() }).await;
    let document = document(&stage).await;
    for (method, path, operation) in operations(&document) {
        // Nobody, with a body that is none and a parameter that nobody knows.
        let target = path.split('/').map(|part| if part.starts_with('{') { "%ff" } else { part });
        let target = target.collect::<Vec<_>>().join("/") + "?nobody-knows=1";
        let body = (method == Method::POST).then_some(&b"{"[..]);
        let answer = stage.ask(method.clone(), &target, &[("authorization", "Bearer nonsense")], body).await;
        let status = answer.status.as_u16();
        let responses = &operation["responses"];
        let described = resolved(&document, responses.get(status.to_string()).unwrap_or(&responses["default"]));
        let headers = described["headers"].as_object().unwrap();
        let told: Vec<_> = ["x-ratelimit-limit", "ratelimit", "x-request-id"]
            .into_iter()
            .filter(|name| answer.header(name).is_some())
            .collect();
        let said = |name: &&&str| headers.keys().any(|known| known.eq_ignore_ascii_case(name));
        assert_eq!(told.iter().filter(said).count(), told.len(), "{method} {path}");
        if status < 400 {
            assert_eq!(operation["security"], json!([]), "{method} {path} answered {status}");
            continue;
        }
        assert!(operation["security"] != json!([]) || method == Method::POST, "{method} {path} answered {status}");
        let schema = resolved(&document, &described["content"]["application/json"]["schema"]);
        let mut body = &answer.body;
        let mut schema = schema;
        while let Some((name, inner)) =
            schema["properties"].as_object().filter(|all| all.len() == 1).and_then(|all| all.iter().next())
        {
            (body, schema) = (&body[name], resolved(&document, inner));
        }
        for name in schema["required"].as_array().unwrap() {
            assert!(body.get(name.as_str().unwrap()).is_some(), "{method} {path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn the_examples_of_the_document_run() {
    let stage = Stage::sqlite(Setup::default()).await;
    let document = document(&stage).await;
    let example = |operation: &Value| {
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let properties = resolved(&document, body)["properties"].as_object().unwrap();
        let members = properties.iter().filter_map(|(name, schema)| {
            let example = schema.get("example").or_else(|| schema["examples"].get(0))?;
            Some((name.clone(), example.clone()))
        });
        Value::Object(members.collect::<Map<_, _>>())
    };
    let of = |path: &str| &document["paths"][path]["post"];
    let token = stage.post("/v1/auth/register", &example(of("/v1/auth/register"))).await.sure(201).text_at("token");
    stage.post("/v1/auth/login", &example(of("/v1/auth/login"))).await.sure(200);
    let key = stage.mint(&token, &example(of("/v1/auth/api-keys"))).await.sure(201).text_at("api_key");
    let bearer = format!("Bearer {key}");
    let mut asked = 0;
    for (method, path, operation) in operations(&document) {
        if method != Method::GET {
            continue;
        }
        let (mut path, mut query) = (path.to_owned(), Vec::new());
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, example) = (parameter["name"].as_str().unwrap(), parameter.get("example"));
            let example =
                example.or_else(|| parameter["schema"].get("example")).or_else(|| parameter["schema"].get("default"));
            let Some(example) = example else { continue };
            let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            match parameter["in"].as_str() {
                // A number names what another request has made.
                Some("path") if parameter["schema"]["type"] == "string" => {
                    path = path.replace(&format!("{{{name}}}"), &example);
                }
                Some("path") => {}
                _ => query.push(format!("{name}={example}")),
            }
        }
        if path.contains('{') {
            continue;
        }
        let target = format!("{path}?{}", query.join("&"));
        // Of two names that the document shows, these tests' engine has one.
        let target = target.replace("BTC,ETH", "BTC");
        let answer = stage.ask(Method::GET, &target, &[("authorization", &bearer)], None).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text);
        asked += 1;
    }
    assert!(asked > 10, "{asked}");
}
