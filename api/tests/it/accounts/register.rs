//! New users.

use futures_util::future::join_all;
use records::UserId;
use serde_json::json;

use super::stage::{PASSWORD, Setup, Stage, on_each_database};

#[tokio::test]
async fn whoever_registers_has_a_token_at_once() {
    let stage = Stage::sqlite(Setup { credit: 10_000_000, ..Setup::default() }).await;
    let answer = stage.register("Angel@Example.com").await.sure(201);
    let user = json!({
        "user_id": 1, "email": "angel@example.com", "username": "angel", "tier": "developer",
        "created_at": "2023-11-15T23:00:00.000Z",
    });
    assert_eq!(answer.body["user"], user);
    assert_eq!((&answer.body["token_type"], &answer.body["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(answer.body["token"], answer.body["access_token"]);
    assert_eq!(answer.body.as_object().unwrap().len(), 5, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    stage.get("/v1/me", &answer.text_at("token")).await.sure(200);
    assert_eq!(stage.records.users().funds(UserId(1)).await.unwrap().available.get(), 10_000_000);
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_named() {
    let stage = Stage::sqlite(Setup::default()).await;
    let long = "x".repeat(129);
    let email = "a@example.com";
    let cases = [
        (json!({}), (400, "missing_fields", "email")),
        (json!({"email": email}), (400, "missing_fields", "password")),
        (json!({"email": 7, "password": PASSWORD}), (400, "invalid_parameter", "email")),
        (json!({"email": null, "password": PASSWORD}), (400, "invalid_parameter", "email")),
        (json!({"email": "", "password": PASSWORD}), (400, "invalid_email", "email")),
        (json!({"email": "no-at.example.com", "password": PASSWORD}), (400, "invalid_email", "email")),
        (json!({"email": "ä@example.com", "password": PASSWORD}), (400, "invalid_email", "email")),
        (
            json!({"email": format!("{}@example.com", "a".repeat(254)), "password": PASSWORD}),
            (400, "invalid_email", "email"),
        ),
        (json!({"email": email, "password": "short"}), (400, "weak_password", "password")),
        (json!({"email": email, "password": "password123"}), (400, "weak_password", "password")),
        (json!({"email": email, "password": "a@example.com"}), (400, "weak_password", "password")),
        (json!({"email": email, "password": "long words ".repeat(12)}), (400, "weak_password", "password")),
        (json!({"email": email, "password": "x".repeat(513)}), (400, "weak_password", "password")),
        (json!({"email": email, "password": PASSWORD, "username": ""}), (400, "invalid_parameter", "username")),
        (json!({"email": email, "password": PASSWORD, "username": long}), (400, "invalid_parameter", "username")),
        (json!({"email": email, "password": PASSWORD, "username": "a\r\nb"}), (400, "invalid_parameter", "username")),
        (json!([email, PASSWORD, null]), (400, "invalid_json", "-")),
    ];
    for (number, (body, want)) in cases.iter().enumerate() {
        let from = format!("198.51.100.{number}");
        let headers = [("x-forwarded-for", from.as_str())];
        // Another path to the same address would make it wait.
        let answer =
            stage.ask(reqwest::Method::POST, "/v1/auth/register", &headers, Some(body.to_string().as_bytes())).await;
        assert_eq!(answer.problem(), *want, "{body}: {}", answer.text);
        assert!(!answer.text.contains("password123"), "a password is repeated");
        stage.pass(120);
    }
    assert_eq!(stage.records.users().page(None, 10).await.unwrap(), []);
    // The reason helps.
    let weak = stage.post("/v1/auth/register", &json!({"email": email, "password": "password123"})).await;
    assert!(weak.text_at("message").contains("easy to guess"), "{}", weak.text);
    stage.pass(120);
    let most = json!({"email": email, "password": PASSWORD, "username": "x".repeat(128), "more": 1, "plan": "gold"});
    let user = stage.post("/v1/auth/register", &most).await.sure(201);
    assert_eq!(user.body["user"]["tier"], "developer", "nobody chooses the own tier");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_registers_once_in_any_case_also_when_many_try_at_once() {
    on_each_database(async |stage| {
        let spellings = ["a@example.com", "A@example.com", "a@Example.com", " a@example.com "];
        let answers = join_all(spellings.map(|email| stage.register(email))).await;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        let taken = answers.iter().filter(|answer| answer.problem() == (409, "email_taken", "-")).count();
        assert_eq!((made, taken), (1, 3), "{answers:?}");
        assert_eq!(stage.records.users().page(None, 10).await.unwrap().len(), 1);
        assert_eq!(stage.register("a@example.com").await.problem(), (409, "email_taken", "-"));
        stage.register("b@example.com").await.sure(201);
    })
    .await;
}

#[tokio::test]
async fn a_closed_server_takes_no_new_users() {
    let stage = Stage::sqlite(Setup { is_open: false, ..Setup::default() }).await;
    assert_eq!(stage.register("a@example.com").await.problem(), (403, "registration_closed", "-"));
    assert_eq!(stage.records.users().page(None, 10).await.unwrap(), []);
}
