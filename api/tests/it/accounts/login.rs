//! A password for a token.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use futures_util::future::join_all;
use records::{PasswordHash, Text, UserId};
use reqwest::Method;
use serde_json::json;

use super::stage::{Answer, PASSWORD, Setup, Stage, on_each_database};

const EMAIL: &str = "angel@example.com";

#[tokio::test]
async fn a_login_answers_as_the_registration_did() {
    on_each_database(async |stage| {
        let registered = stage.register(EMAIL).await.sure(201);
        let answer = stage.login("ANGEL@example.com", PASSWORD).await.sure(200);
        assert_eq!(answer.body["user"], registered.body["user"]);
        assert_eq!(answer.body["token"], answer.body["access_token"]);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let me = stage.get("/v1/me", &answer.text_at("access_token")).await.sure(200);
        assert_eq!(me.body["user_id"], registered.body["user"]["user_id"]);
    })
    .await;
}

/// What an answer says but for the number of its request and its time.
fn shape(answer: &Answer) -> (u16, &str, Vec<&str>) {
    let mut names: Vec<_> = answer.headers.keys().map(header_name).collect();
    names.sort_unstable();
    (answer.status.as_u16(), &answer.text, names)
}

fn header_name(name: &reqwest::header::HeaderName) -> &str {
    name.as_str()
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_cannot_be_told_apart() {
    let stage = Stage::sqlite(Setup::default()).await;
    stage.register(EMAIL).await.sure(201);
    // From its home, an account can be tried without a wait.
    stage.login(EMAIL, PASSWORD).await.sure(200);
    let wrong = stage.login(EMAIL, "another-long-password").await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials", "-"));
    assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));
    for (email, password) in [
        ("nobody@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("' OR 1=1 --@example.com", PASSWORD),
        (EMAIL, ""),
        (EMAIL, "x".repeat(600).as_str()),
    ] {
        assert_eq!(shape(&stage.login(email, password).await), shape(&wrong), "{email}");
    }

    let mut times = [Vec::new(), Vec::new()];
    for number in 0..5 {
        let unknown = format!("nobody-{number}@example.com");
        for (times, email) in times.iter_mut().zip([EMAIL, &unknown]) {
            let start = Instant::now();
            stage.login(email, "another-long-password").await.sure(401);
            times.push(start.elapsed());
        }
    }
    let [known, unknown] = times.map(|mut times: Vec<Duration>| {
        times.sort_unstable();
        times[2]
    });
    // Without a hash the answer takes a hundredth of the time.
    assert!(unknown > known / 4 && known > unknown / 4, "{known:?} {unknown:?}");
}

#[tokio::test]
async fn guessing_gets_slower_for_whoever_guesses() {
    let stage = Stage::sqlite(Setup::default()).await;
    stage.register(EMAIL).await.sure(201);
    let body = json!({"email": EMAIL, "password": "wrong"}).to_string();
    let from = async |address: &str, body: &str| {
        let headers = [("x-forwarded-for", address)];
        stage.ask(Method::POST, "/v1/auth/login", &headers, Some(body.as_bytes())).await
    };
    for host in 1..=5 {
        from(&format!("198.51.100.{host}"), &body).await.sure(401);
    }
    let refused = from("198.51.100.6", &body).await;
    assert_eq!((refused.problem(), refused.header("retry-after")), ((429, "too_many_attempts", "-"), Some("1")));
    // The right password is not looked at either: else guessing would go on.
    let right = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    from("198.51.100.6", &right).await.sure(429);
    stage.pass(1);
    from("198.51.100.6", &right).await.sure(200);

    // One address that tries many accounts is slowed down as well.
    for number in 0..20 {
        let body = json!({"email": format!("u{number}@example.com"), "password": "x".repeat(20)}).to_string();
        from("2001:db8::1", &body).await.sure(401);
    }
    let other = json!({"email": "other@example.com", "password": "wrong"}).to_string();
    let refused = from("2001:db8::ffff", &other).await;
    assert_eq!((refused.problem(), refused.header("retry-after")), ((429, "too_many_attempts", "-"), Some("1")));
    from("2001:db8:0:1::1", &other).await.sure(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_says_when_to_come_again() {
    let stage = Stage::sqlite(Setup { hashes_waiting: 0, ..Setup::default() }).await;
    let logins = (0..12).map(|number| {
        let stage = &stage;
        async move { stage.login(&format!("u{number}@example.com"), PASSWORD).await }
    });
    let answers = join_all(logins).await;
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!busy.is_empty() && busy.len() < answers.len(), "{answers:?}");
    assert!(busy.iter().all(|answer| answer.problem() == (503, "busy", "-")));
    assert!(busy.iter().all(|answer| answer.header("retry-after") == Some("1")));
}

#[tokio::test]
async fn who_is_shut_out_is_told_so_only_with_the_right_password() {
    on_each_database(async |stage| {
        let token = stage.token(EMAIL).await;
        let user = stage.records.users().by_email(EMAIL).await.unwrap().unwrap().user.id;
        stage.records.users().set_disabled(user, true).await.unwrap();
        assert_eq!(stage.login(EMAIL, "another-long-password").await.problem(), (401, "invalid_credentials", "-"));
        assert_eq!(stage.login(EMAIL, PASSWORD).await.problem(), (403, "account_disabled", "-"));
        assert_eq!(stage.get("/v1/me", &token).await.problem(), (403, "account_disabled", "-"));
        assert_eq!(stage.mint(&token, &json!({"name": "x"})).await.problem(), (403, "account_disabled", "-"));
        stage.records.users().set_disabled(user, false).await.unwrap();
        stage.login(EMAIL, PASSWORD).await.sure(200);
        stage.get("/v1/me", &token).await.sure(200);
    })
    .await;
}

#[tokio::test]
async fn a_hash_with_settings_of_yesterday_is_made_anew() {
    on_each_database(async |stage| {
        stage.register(EMAIL).await.sure(201);
        let stored = async || stage.records.users().by_email(EMAIL).await.unwrap().unwrap().password.unwrap().0;
        let user = stage.records.users().by_email(EMAIL).await.unwrap().unwrap().user.id;
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        let weak = weak.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]).unwrap().to_string();
        stage.records.users().set_password(user, &PasswordHash(Text::new(weak.as_str()).unwrap())).await.unwrap();
        stage.login(EMAIL, "another-long-password").await.sure(401);
        assert_eq!(stored().await.as_str(), weak);
        stage.login(EMAIL, PASSWORD).await.sure(200);
        assert!(stored().await.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        stage.login(EMAIL, PASSWORD).await.sure(200);
    })
    .await;
}

#[tokio::test]
async fn a_user_without_a_password_cannot_log_in() {
    let stage = Stage::sqlite(Setup::default()).await;
    let user = records::NewUser {
        id: stage.records.users().next_id().await.unwrap(),
        email: Text::new(EMAIL).unwrap(),
        username: Text::new("angel").unwrap(),
        password: None,
        tier: Text::new("developer").unwrap(),
        cap: ledger::Micros::ZERO,
        signup_credit: ledger::Micros::ZERO,
        created: ledger::Timestamp::ZERO,
    };
    assert_eq!(stage.records.users().create(user, None).await.unwrap().id, UserId(1));
    for password in ["", PASSWORD] {
        assert_eq!(stage.login(EMAIL, password).await.problem(), (401, "invalid_credentials", "-"));
    }
}

#[tokio::test]
async fn an_old_token_keeps_nobody_from_a_new_one() {
    let stage = Stage::sqlite(Setup::default()).await;
    let old = format!("Bearer {}", stage.token(EMAIL).await);
    stage.pass(906);
    let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    let headers = [("authorization", old.as_str())];
    assert_eq!(stage.ask(Method::GET, "/v1/me", &headers, None).await.problem(), (401, "expired_token", "-"));
    stage.ask(Method::POST, "/v1/auth/login", &headers, Some(body.as_bytes())).await.sure(200);
}
