//! `Idempotency-Key` on what makes something.

use futures_util::future::join_all;
use records::UserId;
use reqwest::Method;
use serde_json::json;

use super::stage::{Answer, PASSWORD, Stage, on_each_database};

async fn mint(stage: &Stage, credential: &str, name: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {credential}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", name)];
    stage.ask(Method::POST, "/v1/auth/api-keys", &headers, Some(body.as_bytes())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_requests_with_one_name_one_makes_a_key_and_all_get_the_same() {
    on_each_database(async |stage| {
        let token = stage.token("angel@example.com").await;
        let body = json!({"name": "bot"}).to_string();
        let answers = join_all((0..20).map(|_| mint(stage, &token, "race-1", &body))).await;
        let (made, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert!(!made.is_empty());
        assert!(others.iter().all(|answer| answer.problem() == (409, "idempotency_in_progress", "-")), "{others:?}");
        assert_eq!(made.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count(), 1);
        let again = mint(stage, &token, "\"race-1\"", &body).await.sure(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert!(made.iter().all(|answer| answer.text == again.text));
        assert_eq!(stage.records.keys().of_user(UserId(1), None, 100).await.unwrap().len(), 1);
        stage.get("/v1/me", &again.text_at("api_key")).await.sure(200);

        let other = mint(stage, &token, "race-1", &json!({"name": "other"}).to_string()).await;
        assert_eq!(other.problem(), (422, "idempotency_key_reused", "-"));
        let neighbour = stage.token("bob@example.com").await;
        let own = mint(stage, &neighbour, "race-1", &body).await.sure(201);
        assert!(own.text != again.text && own.header("idempotency-replayed").is_none(), "names are each user's own");
        // A day later the name is free again.
        stage.pass(24 * 3600 + 1);
        let token = stage.login("angel@example.com", PASSWORD).await.sure(200).text_at("token");
        assert_ne!(mint(stage, &token, "race-1", &body).await.sure(201).body["key_id"], again.body["key_id"]);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_was_refused_can_be_mended_under_its_name() {
    let stage = Stage::sqlite(Default::default()).await;
    let token = stage.token("angel@example.com").await;
    for name in ["", " ", "\"\"", &"x".repeat(256)] {
        let answer = mint(&stage, &token, name, r#"{"name":"bot"}"#).await;
        assert_eq!(answer.problem(), (400, "invalid_idempotency_key", "Idempotency-Key"), "{name}");
    }
    assert_eq!(mint(&stage, &token, "n", r#"{"name":""}"#).await.problem(), (400, "invalid_parameter", "name"));
    mint(&stage, &token, "n", r#"{"name":"bot"}"#).await.sure(201);
}

#[tokio::test]
async fn a_registration_that_comes_again_is_answered_as_the_first_time() {
    on_each_database(async |stage| {
        let register = async |email: &str, password: &str| {
            let body = json!({"email": email, "password": password}).to_string();
            let headers = [("idempotency-key", "signup")];
            stage.ask(Method::POST, "/v1/auth/register", &headers, Some(body.as_bytes())).await
        };
        let first = register("angel@example.com", PASSWORD).await.sure(201);
        let again = register("angel@example.com", PASSWORD).await.sure(201);
        assert_eq!((&again.text, again.header("idempotency-replayed")), (&first.text, Some("true")));
        // Whoever does not know the password does not get the token.
        let other = register("angel@example.com", "another-long-password").await;
        assert_eq!(other.problem(), (422, "idempotency_key_reused", "-"));
        assert_ne!(register("bob@example.com", PASSWORD).await.sure(201).text, first.text);
        assert_eq!(stage.records.users().page(None, 10).await.unwrap().len(), 2);
    })
    .await;
}
