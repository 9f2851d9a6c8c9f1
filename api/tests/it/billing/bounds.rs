//! Parameters beyond their bounds are named, and nobody without an account sees anything.

use reqwest::StatusCode;
use serde_json::json;

use super::desk::{Desk, KAI, on_each_database, told};

const ROUTES: [&str; 5] =
    ["/v1/billing/balance", "/v1/billing/usage", "/v1/billing/statement", "/v1/usage", "/v1/audit"];

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_beyond_its_bounds_is_named() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let (long, longer) = ("m".repeat(129), format!("/{}", "e".repeat(256)));
        let (far, other) = ("f".repeat(32), "0".repeat(31));
        let cases = [
            ("/v1/billing/usage", "limit", "0"),
            ("/v1/billing/usage", "limit", "501"),
            ("/v1/billing/usage", "limit", "-1"),
            ("/v1/billing/usage", "limit", "1e2"),
            ("/v1/billing/usage", "limit", "99999999999999999999999"),
            ("/v1/billing/usage", "cursor", &other),
            ("/v1/billing/usage", "cursor", &far),
            ("/v1/billing/usage", "cursor", "%00"),
            ("/v1/billing/usage", "key_id", "0"),
            ("/v1/billing/usage", "key_id", "9223372036854775808"),
            ("/v1/billing/usage", "key_id", "1'%20OR%20'1'='1"),
            ("/v1/billing/usage", "model", &long),
            ("/v1/billing/usage", "model", "a%0Ab"),
            ("/v1/billing/usage", "from", "yesterday"),
            ("/v1/billing/usage", "from", "-1"),
            ("/v1/billing/usage", "to", "2200-01-01T00:00:01Z"),
            ("/v1/billing/usage", "group_by", "user"),
            ("/v1/billing/usage", "sort", "asc"),
            ("/v1/billing/statement", "from", "x"),
            ("/v1/billing/statement", "to", "99999999999999"),
            ("/v1/billing/statement", "limit", "5"),
            ("/v1/audit", "limit", "501"),
            ("/v1/audit", "limit", "0"),
            ("/v1/audit", "cursor", "x"),
            ("/v1/audit", "endpoint", &longer),
            ("/v1/audit", "endpoint", "v1"),
            ("/v1/audit", "endpoint", "/%07"),
            ("/v1/audit", "user_id", "1"),
        ];
        for (path, name, value) in cases {
            let (status, body) = told(server.get(&ada, &format!("{path}?{name}={value}")).send().await.unwrap()).await;
            let problem = body.get("detail").unwrap_or(&body);
            assert_eq!((status, &problem["field"]), (400, &json!(name)), "{path}?{name}={value}: {body}");
            assert_eq!(body.get("detail").is_some(), path == "/v1/audit", "{body}");
        }
        for (path, name) in [
            ("/v1/billing/usage?limit=1&limit=1", "limit"),
            ("/v1/billing/usage?from=2&to=1", "to"),
            ("/v1/billing/statement?from=2&to=1", "to"),
            ("/v1/billing/usage?group_by=day&limit=1", "limit"),
            ("/v1/billing/usage?group_by=day&cursor=00000000000000000000000000000000", "cursor"),
        ] {
            let (status, body) = told(server.get(&ada, path).send().await.unwrap()).await;
            assert_eq!((status, &body["field"]), (400, &json!(name)), "{path}: {body}");
        }
        // At the bounds there is an answer.
        let model = "m".repeat(128);
        for query in ["limit=1", "limit=500", &format!("model={model}"), "key_id=9223372036854775807", "from=0&to=0"] {
            server.json(&ada, &format!("/v1/billing/usage?{query}")).await;
        }
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_account_is_told_nothing() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        for path in ROUTES {
            let answer = server.get_as_nobody(path).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            let made_up = server.get_as_nobody(path).bearer_auth("kai-000000000000000000000000000000000000");
            assert_eq!(made_up.send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{path}");
        }
        server.close().await;
    })
    .await;
}
