//! The API against its own OpenAPI document, as schemathesis sees it: hundreds of right, wrong and odd requests to every route.

use std::{path::Path, process::Command};

use stripe_fake::Fake;

use crate::{
    accounts::with_accounts,
    clients::python_with,
    model::Model,
    process::{Kandle, tempdir},
};

/// Requests to each route in each phase; many more on request.
const EXAMPLES: &str = "12";
const EXAMPLES_LONG: &str = "200";

#[test]
fn no_request_that_the_document_can_describe_makes_the_server_fail() {
    let Some(python) = python_with("schemathesis") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fake = runtime.block_on(Fake::start(([127, 0, 0, 1], 0).into(), "sk_test_contract")).unwrap();
    let (folder, base) = (tempdir(), fake.base());
    let stripe = format!(
        "[stripe]\napi_base = \"{base}\"\nsecret_key = \"sk_test_contract\"\nwebhook_secret = \"whsec_contract\"\n"
    );
    let open = "[tiers.developer]\nrequests_per_minute = 0\n[tiers.anonymous]\nrequests_per_minute = 0\n";
    let model = Model::start();
    let llm = model.config(&folder);
    let kandle = Kandle::serve(&format!("{}{stripe}{open}{llm}", with_accounts(&folder)));
    kandle.beside(&["accounts", "create", "contract@example.com", "--credit", "1"]);
    let made = kandle.beside(&["keys", "create", "--user", "1", "--name", "contract", "--scope", "admin"]).remove(0);
    let key = made["api_key"].as_str().unwrap();
    let long = std::env::var_os("KANDLE_LONG").is_some();
    let schemathesis = Path::new(&python).with_file_name("schemathesis");
    let output = Command::new(schemathesis)
        .args(["run", &format!("{}/v1/openapi.json", kandle.url), "--header", &format!("Authorization: Bearer {key}")])
        .args(["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"])
        .args(["--max-examples", if long { EXAMPLES_LONG } else { EXAMPLES }, "--phases", "examples,coverage,fuzzing"])
        // What it would break is its own way in; and each password takes some 70 ms, by design.
        .args(["--exclude-method", "DELETE", "--exclude-path", "/v1/auth/register", "--suppress-health-check", "all"])
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let tail: Vec<_> = text.lines().rev().take(12).collect();
    println!("{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
    assert_eq!(kandle.json("/v1/ping")["pong"], true);
}
