//! Keys: made, listed, limited, taken back.

use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{HERE, Stage, on_each_database};

const EMAIL: &str = "angel@example.com";

fn path(key: u64) -> String {
    format!("/v1/auth/api-keys/{key}")
}

#[tokio::test]
async fn a_key_is_shown_once_and_good_at_once() {
    on_each_database(async |stage| {
        let token = stage.token(EMAIL).await;
        let minted = stage.mint(&token, &json!({"name": "my-first-bot"})).await.sure(201);
        let key = minted.text_at("api_key");
        assert!(key.len() == 40 && key.starts_with("kai-"), "{key}");
        let mut want = json!({
            "key_id": minted.body["key_id"], "name": "my-first-bot", "prefix": key[..8], "scopes": ["read", "write"],
            "created_at": "2023-11-15T23:00:00.000Z", "expires_at": null, "last_used_at": null, "revoked_at": null,
            "spend_cap_micros": null, "spent_micros": null, "allowed_ips": [],
        });
        let list = stage.get("/v1/auth/api-keys", &key).await.sure(200);
        assert_eq!(list.body, json!({"api_keys": [want], "next_cursor": null}));
        assert!(!list.text.contains(&key[8..]));
        want["api_key"] = json!(key);
        assert_eq!(minted.body, want);
        assert_eq!(minted.header("cache-control"), Some("no-store"));
        let header = [("x-api-key", key.as_str())];
        let me = stage.ask(Method::GET, "/v1/me", &header, None).await.sure(200);
        assert_eq!(me.body["key_id"], minted.body["key_id"]);
    })
    .await;
}

#[tokio::test]
async fn every_field_of_a_key_has_bounds() {
    on_each_database(async |stage| {
        let token = stage.token(EMAIL).await;
        let refused = [
            (json!({}), "missing_fields", "name"),
            (json!({"name": null}), "invalid_parameter", "name"),
            (json!({"name": ""}), "invalid_parameter", "name"),
            (json!({"name": "x".repeat(129)}), "invalid_parameter", "name"),
            (json!({"name": "a\r\nX-Evil: 1"}), "invalid_parameter", "name"),
            (json!({"name": "a\u{0}"}), "invalid_parameter", "name"),
            (json!({"name": "x", "scopes": []}), "invalid_parameter", "scopes"),
            (json!({"name": "x", "scopes": ["root"]}), "invalid_parameter", "scopes"),
            (json!({"name": "x", "scopes": ["read", "READ"]}), "invalid_parameter", "scopes"),
            (json!({"name": "x", "scopes": "read"}), "invalid_parameter", "scopes"),
            (json!({"name": "x", "scopes": [1]}), "invalid_parameter", "scopes[0]"),
            (json!({"name": "x", "expires_at": "tomorrow"}), "invalid_parameter", "expires_at"),
            (json!({"name": "x", "expires_at": "2023-11-15T23:00:00Z"}), "invalid_parameter", "expires_at"),
            (json!({"name": "x", "expires_at": "2555-01-01T00:00:00Z"}), "invalid_parameter", "expires_at"),
            (json!({"name": "x", "expires_at": 1_900_000_000}), "invalid_parameter", "expires_at"),
            (json!({"name": "x", "expires_in_days": 0}), "invalid_parameter", "expires_in_days"),
            (json!({"name": "x", "expires_in_days": 3651}), "invalid_parameter", "expires_in_days"),
            (json!({"name": "x", "expires_in_days": u64::MAX}), "invalid_parameter", "expires_in_days"),
            (json!({"name": "x", "expires_in_days": -1}), "invalid_parameter", "expires_in_days"),
            (json!({"name": "x", "expires_in_days": 1.5}), "invalid_parameter", "expires_in_days"),
            (
                json!({"name": "x", "expires_in_days": 1, "expires_at": "2030-01-01T00:00:00Z"}),
                "invalid_parameter",
                "expires_in_days",
            ),
            (json!({"name": "x", "spend_cap_micros": 0}), "invalid_parameter", "spend_cap_micros"),
            (json!({"name": "x", "spend_cap_micros": -1}), "invalid_parameter", "spend_cap_micros"),
            (json!({"name": "x", "spend_cap_micros": 0.5}), "invalid_parameter", "spend_cap_micros"),
            (json!({"name": "x", "spend_cap_micros": "5"}), "invalid_parameter", "spend_cap_micros"),
            (json!({"name": "x", "spend_cap_micros": 1_000_000_000_001_u64}), "invalid_parameter", "spend_cap_micros"),
            (json!({"name": "x", "spend_cap_micros": u64::MAX}), "invalid_parameter", "spend_cap_micros"),
            (json!({"name": "x", "allowed_ips": ["localhost"]}), "invalid_parameter", "allowed_ips"),
            (json!({"name": "x", "allowed_ips": ["10.0.0.0/33"]}), "invalid_parameter", "allowed_ips"),
            (json!({"name": "x", "allowed_ips": ["::ffff:10.0.0.1"]}), "invalid_parameter", "allowed_ips"),
            (json!({"name": "x", "allowed_ips": vec!["10.0.0.1"; 33]}), "invalid_parameter", "allowed_ips"),
            (json!({"name": "x", "allowed_ips": "10.0.0.1"}), "invalid_parameter", "allowed_ips"),
        ];
        for (wish, code, field) in &refused {
            let answer = stage.mint(&token, wish).await;
            assert_eq!(answer.problem(), (400, *code, *field), "{wish}: {}", answer.text);
        }
        let list = stage.get("/v1/auth/api-keys", &token).await.sure(200);
        assert_eq!(list.body["api_keys"], json!([]));

        let networks: Vec<_> = (0..32).map(|host| format!("10.0.0.{host}/32")).collect();
        let most = json!({
            "name": "ä".repeat(64), "scopes": ["admin", "read"], "expires_in_days": 3650,
            "spend_cap_micros": 1_000_000_000_000_u64, "allowed_ips": networks, "unknown": true,
        });
        let minted = stage.mint(&token, &most).await.sure(201);
        assert_eq!(minted.body["scopes"], json!(["read", "write", "admin"]));
        assert_eq!(minted.body["expires_at"], "2033-11-12T23:00:00.000Z");
        let list = stage.get("/v1/auth/api-keys", &token).await.sure(200);
        let mut listed = list.body["api_keys"][0].clone();
        listed["api_key"] = minted.body["api_key"].clone();
        assert_eq!(listed, minted.body, "what is stored is what was told");
        let exact =
            stage.mint(&token, &json!({"name": "x", "expires_at": "2030-01-01T02:00:00.5+02:00"})).await.sure(201);
        assert_eq!(exact.body["expires_at"], "2030-01-01T00:00:00.500Z");
    })
    .await;
}

#[tokio::test]
async fn only_an_admin_key_makes_and_revokes_keys_but_each_may_end_itself() {
    on_each_database(async |stage| {
        let token = stage.token(EMAIL).await;
        let (first, admin) = stage.key(&token, &["admin"]).await;
        for scopes in [&["read"][..], &["read", "write"]] {
            let (id, key) = stage.key(&admin, scopes).await;
            let refused = stage.mint(&key, &json!({"name": "x", "scopes": ["read"]})).await;
            assert_eq!(refused.problem(), (403, "insufficient_scope", "-"));
            assert_eq!(refused.body["required"], "admin");
            assert_eq!(stage.delete(&path(first), &key).await.problem(), (403, "insufficient_scope", "-"));
            stage.get("/v1/auth/api-keys", &key).await.sure(200);
            stage.delete(&path(id), &key).await.sure(200);
            assert_eq!(stage.get("/v1/auth/api-keys", &key).await.problem(), (401, "revoked_api_key", "-"));
        }
        stage.get("/v1/me", &admin).await.sure(200);
    })
    .await;
}

#[tokio::test]
async fn a_key_makes_none_that_can_do_more_than_itself() {
    let stage = Stage::sqlite(Default::default()).await;
    let token = stage.token(EMAIL).await;
    let admin = async |more: Value| {
        let mut wish = json!({"name": "admin", "scopes": ["admin"]});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.mint(&token, &wish).await.sure(201).text_at("api_key")
    };
    let check = async |key: &str, wish: Value, field: &str| {
        assert_eq!(stage.mint(key, &wish).await.problem(), (403, "beyond_own_key", field), "{wish}");
    };

    let short = admin(json!({"expires_in_days": 7})).await;
    check(&short, json!({"name": "x", "expires_in_days": 8}), "expires_at").await;
    let heir = stage.mint(&short, &json!({"name": "x"})).await.sure(201);
    assert_eq!(heir.body["expires_at"], "2023-11-22T23:00:00.000Z");

    let near = admin(json!({"allowed_ips": ["192.0.2.0/24"]})).await;
    check(&near, json!({"name": "x", "allowed_ips": ["192.0.0.0/16"]}), "allowed_ips").await;
    check(&near, json!({"name": "x", "allowed_ips": [HERE, "::1"]}), "allowed_ips").await;
    let heir = stage.mint(&near, &json!({"name": "x"})).await.sure(201);
    assert_eq!(heir.body["allowed_ips"], json!(["192.0.2.0/24"]));
    let narrow = stage.mint(&near, &json!({"name": "x", "allowed_ips": [HERE]})).await.sure(201);
    assert_eq!(narrow.body["allowed_ips"], json!(["192.0.2.1/32"]));

    let capped = admin(json!({"spend_cap_micros": 100})).await;
    check(&capped, json!({"name": "x"}), "spend_cap_micros").await;
    check(&capped, json!({"name": "x", "spend_cap_micros": 1}), "spend_cap_micros").await;
    let free = admin(json!({})).await;
    stage.mint(&free, &json!({"name": "x", "spend_cap_micros": 1, "expires_in_days": 9})).await.sure(201);
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_from_that_moment_on() {
    on_each_database(async |stage| {
        let token = stage.token(EMAIL).await;
        let (id, key) = stage.key(&token, &["read"]).await;
        stage.get("/v1/me", &key).await.sure(200);
        let revoked = stage.delete(&path(id), &token).await.sure(200);
        assert_eq!(revoked.body, json!({"key_id": id, "revoked_at": "2023-11-15T23:00:00.000Z"}));
        assert_eq!(stage.get("/v1/me", &key).await.problem(), (401, "revoked_api_key", "-"));
        stage.pass(60);
        let again = stage.delete(&path(id), &token).await.sure(200);
        assert_eq!(again.body, revoked.body, "a key is revoked once");
        let list = stage.get("/v1/auth/api-keys", &token).await.sure(200);
        assert_eq!(list.body["api_keys"][0]["revoked_at"], revoked.body["revoked_at"]);

        let stranger = stage.token("bob@example.com").await;
        let (other, others_key) = stage.key(&stranger, &["read"]).await;
        for name in [other.to_string(), "999999".to_owned(), "0".to_owned(), "-1".to_owned(), "x".to_owned()]
            .into_iter()
            .chain([u64::MAX.to_string(), "1%20OR%201=1".to_owned()])
        {
            let answer = stage.delete(&format!("/v1/auth/api-keys/{name}"), &token).await;
            assert_eq!(answer.problem(), (404, "unknown_api_key", "-"), "{name}: {}", answer.text);
        }
        let unreadable = stage.delete("/v1/auth/api-keys/%ff", &token).await;
        assert_eq!(unreadable.problem(), (400, "invalid_path", "-"));
        stage.get("/v1/me", &others_key).await.sure(200);
    })
    .await;
}

#[tokio::test]
async fn a_key_ends_with_its_time_and_works_only_from_its_networks() {
    let stage = Stage::sqlite(Default::default()).await;
    let token = stage.token(EMAIL).await;
    let wish = json!({"name": "x", "expires_in_days": 1, "allowed_ips": ["192.0.2.0/25", "2001:db8::/64"]});
    let key = stage.mint(&token, &wish).await.sure(201).text_at("api_key");
    let bearer = format!("Bearer {key}");
    let from = async |address: &str| {
        let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", address)];
        stage.ask(Method::GET, "/v1/me", &headers, None).await
    };
    for inside in ["192.0.2.127", "2001:db8::ffff"] {
        assert_eq!(from(inside).await.sure(200).body["address"], inside);
    }
    for outside in ["192.0.2.128", "2001:db8:0:1::1", "198.51.100.1"] {
        assert_eq!(from(outside).await.problem(), (403, "address_not_allowed", "-"), "{outside}");
    }
    stage.pass(24 * 3600 - 1);
    from("192.0.2.1").await.sure(200);
    stage.pass(1);
    assert_eq!(from("192.0.2.1").await.problem(), (401, "expired_api_key", "-"));
}

#[tokio::test]
async fn keys_are_listed_page_by_page_and_each_user_sees_the_own_ones() {
    on_each_database(async |stage| {
        let (token, stranger) = (stage.token(EMAIL).await, stage.token("bob@example.com").await);
        let mut made = Vec::new();
        for number in 0..5 {
            made.push(stage.key(&token, &["read"]).await.0);
            stage.key(&stranger, &["read"]).await;
            if number == 2 {
                stage.delete(&path(made[2]), &token).await.sure(200);
            }
        }
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = stage.get(&format!("/v1/auth/api-keys?limit=2{cursor}"), &token).await.sure(200);
            seen.extend(page.body["api_keys"].as_array().unwrap().iter().map(|key| key["key_id"].as_u64().unwrap()));
            pages += 1;
            assert!(pages < 9, "pages without an end");
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!((seen, pages), (made, 3));
        for (query, code, field) in [
            ("limit=0", "invalid_parameter", "limit"),
            ("limit=101", "invalid_parameter", "limit"),
            ("limit=x", "invalid_parameter", "limit"),
            ("cursor=x", "invalid_parameter", "cursor"),
            ("cursor=-1", "invalid_parameter", "cursor"),
            ("cursor=9223372036854775808", "invalid_parameter", "cursor"),
            ("limit=1&limit=2", "invalid_parameter", "limit"),
            ("page=1", "unknown_parameter", "page"),
        ] {
            let answer = stage.get(&format!("/v1/auth/api-keys?{query}"), &token).await;
            assert_eq!(answer.problem(), (400, code, field), "{query}: {}", answer.text);
        }
        let beyond = stage.get("/v1/auth/api-keys?cursor=9223372036854775807", &token).await.sure(200);
        assert_eq!(beyond.body, json!({"api_keys": [], "next_cursor": null}));
    })
    .await;
}
