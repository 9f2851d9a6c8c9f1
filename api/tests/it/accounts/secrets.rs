//! What must not be found anywhere.

use std::{
    fs, io,
    sync::{Arc, Mutex},
};

use reqwest::Method;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::stage::Stage;

const EMAIL: &str = "angel@example.com";
const PASSWORD: &str = "planted-secret-of-angel";

/// All that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn neither_the_database_nor_an_error_nor_the_log_has_a_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_max_level(tracing::Level::DEBUG).finish();
    // Of all threads: it may have what other tests log, too.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let stage = Stage::sqlite(Default::default()).await;
    let named = [("idempotency-key", "planted-name-of-angel")];
    let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    let session = stage.ask(Method::POST, "/v1/auth/register", &named, Some(body.as_bytes())).await.sure(201);
    let token = session.text_at("token");
    stage.ask(Method::POST, "/v1/auth/register", &named, Some(body.as_bytes())).await.sure(201);
    let login = stage.login(EMAIL, PASSWORD).await.sure(200).text_at("token");
    let bearer = format!("Bearer {token}");
    let headers = [("idempotency-key", "planted-name-of-angel"), ("authorization", bearer.as_str())];
    let minted = stage.ask(Method::POST, "/v1/auth/api-keys", &headers, Some(br#"{"name":"bot"}"#)).await.sure(201);
    let key = minted.text_at("api_key");
    stage.get("/v1/me", &key).await.sure(200);

    // What goes wrong with each of them.
    let mut errors = vec![
        stage.ask(Method::POST, "/v1/auth/register", &[], Some(body.as_bytes())).await.sure(409),
        stage.login(EMAIL, &format!("{PASSWORD}!")).await.sure(401),
        stage.post("/v1/auth/register", &json!({"email": PASSWORD, "password": PASSWORD})).await.sure(400),
        stage.post("/v1/auth/register", &json!({"email": EMAIL, "password": [PASSWORD]})).await.sure(400),
        stage.get("/v1/me", &format!("{token}x")).await.sure(401),
        stage.get("/v1/me", &format!("{key}x")).await.sure(401),
        stage.mint(&key, &json!({"name": "x"})).await.sure(403),
    ];
    let unfinished = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}"#);
    errors.push(stage.ask(Method::POST, "/v1/auth/login", &[], Some(unfinished.as_bytes())).await.sure(400));
    stage.delete(&format!("/v1/auth/api-keys/{}", minted.body["key_id"]), &key).await.sure(200);
    errors.push(stage.get("/v1/me", &key).await.sure(401));
    // The audit is written, and the database put away.
    stage.records.close().await;

    let signature = |token: &str| token.rsplit_once('.').unwrap().1.to_owned();
    let secrets = [
        PASSWORD.to_owned(),
        key[8..].to_owned(),
        key[4..34].to_owned(),
        signature(&token),
        signature(&login),
        token.clone(),
        "planted-name-of-angel".to_owned(),
        "5a5a5a5a5a5a5a5a".to_owned(),
    ];
    let mut stored = Vec::new();
    for entry in fs::read_dir(stage.folder.path()).unwrap() {
        stored.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    assert!(has(&stored, EMAIL) && has(&stored, "$argon2id$") && has(&stored, &key[..8]), "the search finds nothing");
    let log = log.0.lock().unwrap();
    let said: String = errors.iter().map(|answer| format!("{}{:?}", answer.text, answer.headers)).collect();
    assert!(has(&log, "INSERT INTO users"), "nothing is logged");
    for secret in &secrets {
        assert!(!has(&stored, secret), "the database has {secret}");
        assert!(!has(&log, secret), "the log has {secret}");
        assert!(!said.contains(secret.as_str()), "an error has {secret}");
    }
}
