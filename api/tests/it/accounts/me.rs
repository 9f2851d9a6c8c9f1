//! What a caller is told of itself.

use reqwest::Method;
use serde_json::json;

use super::stage::{CONFIGURED, HERE, Stage, on_each_database};

#[tokio::test]
async fn a_key_can_be_asked_what_it_may_do() {
    on_each_database(async |stage: &Stage| {
        let token = stage.token("angel@example.com").await;
        let mut want = json!({
            "user_id": 1, "username": "angel", "email": "angel@example.com", "scopes": ["read", "write", "admin"],
            "key_id": null, "key_name": null, "expires_at": null, "allowed_ips": [], "spend_cap_micros": null,
            "address": HERE, "tier": "developer", "created_at": "2023-11-15T23:00:00.000Z",
            "limits": {
                "requests_per_minute": null, "burst": null, "connections": null, "runs": 25, "cap_micros": 500_000_000,
            },
        });
        assert_eq!(stage.get("/v1/me", &token).await.sure(200).body, want);

        let wish = json!({
            "name": "bot", "scopes": ["read"], "expires_in_days": 30, "spend_cap_micros": 7, "allowed_ips": [HERE],
        });
        let key = stage.mint(&token, &wish).await.sure(201);
        let me = stage.get("/v1/me", &key.text_at("api_key")).await.sure(200);
        want["scopes"] = json!(["read"]);
        want["key_id"] = key.body["key_id"].clone();
        want["key_name"] = json!("bot");
        want["expires_at"] = json!("2023-12-15T23:00:00.000Z");
        want["allowed_ips"] = json!(["192.0.2.1/32"]);
        want["spend_cap_micros"] = json!(7);
        assert_eq!(me.body, want);
        assert_eq!((me.header("cache-control"), me.header("vary")), (Some("no-store"), Some("authorization")));
    })
    .await;
}

#[tokio::test]
async fn who_has_no_account_is_told_why_in_the_shape_of_that_route() {
    let stage = Stage::sqlite(Default::default()).await;
    let nobody = stage.ask(Method::GET, "/v1/me", &[], None).await;
    assert_eq!(nobody.problem(), (401, "missing_api_key", "-"));
    assert_eq!(nobody.body["detail"]["docs"], "/v1/openapi.json");
    assert_eq!(stage.get("/v1/me", CONFIGURED).await.problem(), (403, "no_account", "-"));
    assert_eq!(stage.get("/v1/auth/api-keys", CONFIGURED).await.problem(), (403, "no_account", "-"));
}
