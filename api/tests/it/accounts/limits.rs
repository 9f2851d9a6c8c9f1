//! How often, and how many.

use futures_util::future::join_all;
use records::{Attempt, Payer, Text, UserId};
use reqwest::Method;
use serde_json::json;

use super::stage::{Setup, Stage, on_each_database};

#[tokio::test]
async fn nobody_makes_accounts_by_the_thousand() {
    let stage = Stage::sqlite(Setup::default()).await;
    let register = async |address: &str, number: usize| {
        // Too weak to be hashed: what is counted is the attempt.
        let body = json!({"email": format!("u{number}@example.com"), "password": "short"}).to_string();
        let headers = [("x-forwarded-for", address)];
        stage.ask(Method::POST, "/v1/auth/register", &headers, Some(body.as_bytes())).await
    };
    for number in 0..20 {
        register("198.51.100.7", number).await.sure(400);
    }
    let refused = register("198.51.100.7", 20).await;
    assert_eq!((refused.problem(), refused.header("retry-after")), ((429, "too_many_attempts", "-"), Some("1")));
    register("198.51.100.8", 21).await.sure(400);

    // In a day, one address is let in some hundreds of times, and never twice in five minutes once it is known.
    let mut let_in = 0;
    for number in 0..24 * 60 {
        stage.pass(60);
        let_in += usize::from(register("198.51.100.7", 100 + number).await.status == 400);
    }
    assert!((250..300).contains(&let_in), "{let_in}");
}

#[tokio::test]
async fn whoever_comes_without_a_key_has_a_quota_that_every_answer_tells() {
    let stage = Stage::sqlite(Setup { is_limited: true, ..Setup::default() }).await;
    let body = br#"{"email":"nobody","password":"x"}"#;
    let mut last = None;
    for left in (0..60).rev() {
        let answer = stage.ask(Method::POST, "/v1/auth/login", &[], Some(body)).await.sure(401);
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(left.to_string().as_str()));
        last = Some(answer);
    }
    assert_eq!(last.unwrap().header("ratelimit-policy"), Some("\"anonymous\";q=60;w=60"));
    let refused = stage.ask(Method::POST, "/v1/auth/login", &[], Some(body)).await;
    assert_eq!((refused.problem(), refused.header("retry-after")), ((429, "rate_limited", "-"), Some("1")));
    // Who tries keys is counted as one who has none.
    assert_eq!(stage.get("/v1/me", "kai-nonsense").await.problem().0, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_at_most_a_hundred_keys_that_are_good() {
    on_each_database(async |stage| {
        let token = stage.token("angel@example.com").await;
        let wish = json!({"name": "bot"});
        let made = join_all((0..105).map(|_| stage.mint(&token, &wish))).await;
        let full = made.iter().filter(|answer| answer.problem() == (409, "too_many_api_keys", "-")).count();
        let ids: Vec<_> = made.iter().filter_map(|answer| answer.body["key_id"].as_u64()).collect();
        assert_eq!((ids.len(), full), (100, 5));
        stage.delete(&format!("/v1/auth/api-keys/{}", ids[0]), &token).await.sure(200);
        stage.mint(&token, &wish).await.sure(201);
        assert_eq!(stage.mint(&token, &wish).await.problem(), (409, "too_many_api_keys", "-"));
    })
    .await;
}

#[tokio::test]
async fn a_list_tells_what_a_key_has_spent_of_its_cap() {
    on_each_database(async |stage| {
        let token = stage.token("angel@example.com").await;
        let user = UserId(stage.get("/v1/me", &token).await.body["user_id"].as_u64().unwrap());
        let micros = |micros| ledger::Micros::new(micros).unwrap();
        stage.records.gifts().credit(user, micros(100), &Text::new("gift").unwrap(), None).await.unwrap();
        stage.mint(&token, &json!({"name": "free"})).await.sure(201);
        let capped = stage.mint(&token, &json!({"name": "capped", "spend_cap_micros": 70})).await.sure(201);
        assert_eq!((&capped.body["spend_cap_micros"], &capped.body["spent_micros"]), (&json!(70), &json!(0)));

        let key = Some(records::KeyId(capped.body["key_id"].as_u64().unwrap()));
        let charges = stage.records.charges();
        let hold = charges.hold(Payer { user, key, has_key_cap: true }, Text::new("r").unwrap(), micros(50), 60, None);
        let hold = hold.await.unwrap();
        charges.settle(&hold, micros(30), attempt(), None).await.unwrap();
        let list = stage.get("/v1/auth/api-keys", &token).await.sure(200);
        let spent: Vec<_> = list.body["api_keys"].as_array().unwrap().iter().map(|key| &key["spent_micros"]).collect();
        assert_eq!(spent, [&json!(null), &json!(30)]);
    })
    .await;
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        endpoint: Text::new("/v1/chat/completions").unwrap(),
        provider: Text::new("local").unwrap(),
        model: Text::new("kai-fast").unwrap(),
        upstream_model: Text::new("kai-fast").unwrap(),
        tokens_in: 1,
        tokens_cached: 0,
        tokens_out: 1,
        tokens_reasoning: 0,
        latency_ms: 1,
        first_token_ms: None,
        status: Text::new("ok").unwrap(),
        source: Text::new("upstream").unwrap(),
        raw: None,
    }
}
