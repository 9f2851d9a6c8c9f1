//! Why there is no answer, in the shape that the clients of each route know, and what must be in none of them.

use records::Scope;
use scripted::{Reply, Upstream, error};
use serde_json::{Value, json};

use super::stage::{Menu, OWN_KEY_FEE, funds, request, rows, whole};
use crate::billing::desk::{Desk, KAI, on_each_database, told};

const PATH: &str = "/v1/chat/completions";
const PLANTED: &str = "sk-planted-0123456789";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_wrong_is_refused_in_the_shape_of_openai_with_its_parameter() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("ok", 1, 1)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        for (more, status, code, param) in [
            (json!({"model": "gpt-9"}), 404, "model_not_found", "model"),
            (json!({"model": null}), 400, "missing_required_parameter", "model"),
            (json!({"messages": []}), 400, "empty_array", "messages"),
            (json!({"messages": [{"role": "robot", "content": "x"}]}), 400, "invalid_value", "messages[0].role"),
            (json!({"temperature": 3}), 400, "decimal_above_max_value", "temperature"),
            (json!({"n": 2}), 400, "invalid_value", "n"),
            (json!({"functions": []}), 400, "unsupported_parameter", "functions"),
            (json!({"stream_options": {"include_usage": true}}), 400, "invalid_value", "stream_options"),
            (json!({"max_tokens": "5"}), 400, "invalid_type", "max_tokens"),
        ] {
            let (got, body) = told(server.post_as(&ada, PATH, &request("cheap", &more)).send().await.unwrap()).await;
            let error = &body["error"];
            assert_eq!((got, &error["code"], &error["param"]), (status, &json!(code), &json!(param)), "{more}: {body}");
            assert_eq!(error["type"], "invalid_request_error");
            assert!(error["message"].is_string());
        }
        let torn = server.post(PATH).bearer_auth(&ada.text).body("{\"model\":").send().await.unwrap();
        let (status, body) = told(torn).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_json")));
        let large = format!("\"{}\"", "x".repeat(8 * 1024 * 1024));
        let large = server.post(PATH).bearer_auth(&ada.text).body(large).send().await.unwrap();
        assert_eq!(large.status(), 413);
        assert_eq!((upstream.seen().len(), funds(&server, &ada).await), (0, (KAI, 0)));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_is_told_why() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("ok", 1, 1)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let reader = server.key(ada.user, Scope::Read, None, desk.now()).await;
        let asked = request("cheap", &json!({}));
        let (status, body) = told(server.post(PATH).json(&asked).send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["type"]), (401, &json!("authentication_error")), "{body}");
        let (status, body) = told(server.post_as(&reader, PATH, &asked).send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["code"]), (403, &json!("insufficient_scope")), "{body}");
        server.json(&reader, "/v1/models").await;
        let (status, body) = told(server.post_as(&reader, "/v1/llm", &asked).send().await.unwrap()).await;
        assert_eq!((status, &body["detail"]["error"]), (403, &json!("insufficient_scope")), "{body}");
        let (status, body) = told(server.post_as(&reader, "/v1/ai/chat", &asked).send().await.unwrap()).await;
        assert_eq!((status, &body["error"]), (403, &json!("insufficient_scope")), "{body}");
        server.close().await;

        let without = desk.open().await;
        let (status, body) = told(without.post_as(&ada, PATH, &asked).send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["code"]), (503, &json!("no_provider")), "{body}");
        without.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_refuses_has_the_status_that_says_whether_to_ask_again() {
    on_each_database(async |desk: &Desk| {
        for (upstream_status, headers, code, status, told_code) in [
            (400, "", "context_length_exceeded", 400, "context_length_exceeded"),
            (400, "", "invalid_value", 400, "invalid_request"),
            (401, "", "invalid_api_key", 502, "provider_error"),
            (404, "", "model_not_found", 502, "provider_error"),
            (429, "retry-after: 7\r\n", "rate_limit_exceeded", 429, "rate_limit_exceeded"),
            (503, "retry-after: 9\r\n", "overloaded", 503, "provider_overloaded"),
            (500, "", "server_error", 502, "provider_error"),
        ] {
            let reply = Reply::Status(upstream_status, headers, error("our account 4711", code));
            let upstream = Upstream::new(move |_| reply.clone()).await;
            for is_stream in [false, true] {
                let server = Menu::default().open(desk, &upstream, &upstream).await;
                let email = format!("{upstream_status}{code}{is_stream}@example.com");
                let ada = server.holder(&email, 0, KAI, desk.now()).await;
                let asked = request("cheap", &json!({"stream": is_stream}));
                let response = server.post_as(&ada, PATH, &asked).send().await.unwrap();
                let wait = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
                let (got, body) = told(response).await;
                assert_eq!((got, &body["error"]["code"]), (status, &json!(told_code)), "{body}");
                assert_eq!(wait.is_some(), !headers.is_empty(), "{upstream_status}: {wait:?} {body}");
                let is_ours = [401, 404].contains(&upstream_status);
                assert!(!is_ours || !body.to_string().contains("4711"), "{body}");
                assert_eq!(funds(&server, &ada).await, (KAI, 0));
                server.close().await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_callers_own_is_used_once_and_found_nowhere() {
    on_each_database(async |desk: &Desk| {
        let quoting = |seen: &scripted::Seen| match seen.body["messages"][0]["content"].as_str() {
            Some("fail") => {
                let quoted = seen.head.lines().find(|line| line.starts_with("authorization")).unwrap().to_owned();
                Reply::Status(401, "", error(&quoted, "invalid_api_key"))
            }
            _ => whole("haiku", 20, 7),
        };
        let upstream = Upstream::new(quoting).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let ask = |prompt: &str| json!({"prompt": prompt, "byo_key": PLANTED, "byo_provider": "anthropic", "task_type": "summarize"});
        let named = server.post_as(&ada, "/v1/llm", &ask("write")).header("idempotency-key", "k1");
        let (status, body) = told(named.send().await.unwrap()).await;
        assert_eq!((status, &body["text"], &body["cost_micros"]), (200, &json!("haiku"), &json!(OWN_KEY_FEE)), "{body}");
        assert!(upstream.seen()[0].head.contains(PLANTED));
        let mut said = body.to_string();
        let wrong = json!({"prompt": 7, "byo_key": PLANTED, "byo_provider": "anthropic"});
        let wrong_key = json!({"prompt": "x", "byo_key": {"k": PLANTED}, "byo_provider": "anthropic"});
        let bad_key = json!({"prompt": "x", "byo_key": format!("{PLANTED} \u{fc}"), "byo_provider": "anthropic"});
        let nobody = json!({"prompt": "x", "byo_key": PLANTED, "byo_provider": "nobody"});
        let missing = json!({"prompt": "x", "byo_key": PLANTED});
        for asked in [wrong, wrong_key, bad_key, nobody, missing] {
            let (got, body) = told(server.post_as(&ada, "/v1/llm", &asked).send().await.unwrap()).await;
            assert_eq!(got, 400, "{body}");
            said.push_str(&body.to_string());
        }
        let (status, body) = told(server.post_as(&ada, "/v1/llm", &ask("fail")).send().await.unwrap()).await;
        let detail = &body["detail"];
        assert_eq!((status, &detail["error"], &detail["field"]), (400, &json!("byo_key_refused"), &json!("byo_key")));
        assert!(detail["message"].as_str().unwrap().contains("[redacted]"), "{body}");
        said.push_str(&body.to_string());
        assert_eq!(funds(&server, &ada).await, (KAI - OWN_KEY_FEE, 0));
        rows(&server, &ada, 2).await;
        let metrics = server.get_as_nobody("/metrics").send().await.unwrap().text().await.unwrap();
        for path in ["/v1/billing/usage", "/v1/audit", "/v1/providers"] {
            said.push_str(&server.json(&ada, path).await.to_string());
        }
        assert!(!said.contains(PLANTED) && !metrics.contains(PLANTED), "{said}");
        server.close().await;
        if let Some(stored) = desk.stored() {
            let has = |text: &str| stored.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(has("/v1/llm") && !has(PLANTED), "the search finds nothing, or the key");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_unknown_is_refused_with_those_that_are_known() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("ok", 1, 1)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let ask = async |body: &Value| told(server.post_as(&ada, "/v1/llm", body).send().await.unwrap()).await;
        let (status, body) = ask(&json!({"prompt": "x", "provider": "runway"})).await;
        assert_eq!((status, &body["detail"]["error"]), (400, &json!("invalid_provider")), "{body}");
        assert!(body["detail"]["message"].as_str().unwrap().contains("anthropic, google"), "{body}");
        let (status, body) = ask(&json!({"max_tokens": 3})).await;
        assert_eq!(
            (status, &body["detail"]["error"], &body["detail"]["field"]),
            (400, &json!("missing_fields"), &json!("prompt"))
        );
        server.close().await;
    })
    .await;
}
