//! What a user is told of balance, usage, cap, statement and audit is what happened.

use std::time::Duration;

use records::{HoldError, Payer, RequestName, Scope, Text};
use serde_json::{Value, json};

use super::desk::{Desk, Holder, KAI, Server, attempt, micros, on_each_database, told};

const DAY: i64 = 24 * 60 * 60;

#[tokio::test(flavor = "multi_thread")]
async fn the_balance_says_what_can_be_spent_and_what_is_held() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        let ada = server.holder("ada@example.com", 0, 10 * KAI, desk.now()).await;
        let fresh = json!({"balance_micros": 10_000_000, "balance_kai": "10.00", "held_micros": 0, "owed_micros": 0,
            "currency": "KAI"});
        assert_eq!(server.json(&ada, "/v1/billing/balance").await, fresh);
        let payer = Payer { user: ada.user, key: Some(ada.key), has_key_cap: false };
        let charges = server.records.charges();
        let hold = charges.hold(payer, RequestName::new("r1").unwrap(), micros(5), 60, None).await.unwrap();
        let balance = server.json(&ada, "/v1/billing/balance").await;
        assert_eq!(
            [&balance["balance_kai"], &balance["balance_micros"], &balance["held_micros"]],
            [&json!("9.999995"), &json!(9_999_995), &json!(5)]
        );
        charges.void(&hold, None).await.unwrap();
        assert_eq!(server.json(&ada, "/v1/billing/balance").await, fresh);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_paged_filtered_and_summed_and_nobody_sees_anothers() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        let ada = server.holder("ada@example.com", 0, 10 * KAI, desk.now()).await;
        let bob = server.holder("bob@example.com", 0, 10 * KAI, desk.now()).await;
        let second = server.key(ada.user, Scope::Read, None, desk.now()).await;
        let began = desk.now().nanos() / 1_000_000;
        for number in 0..7 {
            let (holder, model) = if number % 2 == 0 { (&ada, "kai-fast") } else { (&second, "kai-smart") };
            server.charge(holder, &format!("r{number}"), model, 1000 + number).await;
            desk.pass(1);
        }
        server.charge(&bob, "bob", "kai-fast", 77).await;

        let mut found = Vec::new();
        let mut next = String::new();
        loop {
            let page = server.json(&ada, &format!("/v1/billing/usage?limit=3{next}")).await;
            found.extend(page["usage"].as_array().unwrap().clone());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        let requests: Vec<_> = found.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
        assert_eq!(requests, ["r6", "r5", "r4", "r3", "r2", "r1", "r0"]);
        let mut row = found[0].clone();
        let created = row.as_object_mut().unwrap().remove("created_at").unwrap();
        assert!(created.as_str().unwrap().ends_with(".000Z"), "{created}");
        assert_eq!(
            row,
            json!({"request_id": "r6", "attempt": 1, "endpoint": "/v1/chat/completions", "provider": "local",
                "model": "kai-fast", "upstream_model": "SmolLM2-135M-Instruct", "tokens_in": 18, "tokens_out": 14,
                "tokens_cached": 4, "tokens_reasoning": 3, "cost_micros": 1006, "cost_kai": "0.001006",
                "latency_ms": 120, "first_token_ms": 30, "status": "ok", "usage_source": "upstream",
                "key_id": ada.key.0})
        );

        let count = async |query: &str| {
            server.json(&ada, &format!("/v1/billing/usage?{query}")).await["usage"].as_array().unwrap().len()
        };
        assert_eq!(count(&format!("key_id={}", second.key.0)).await, 3);
        assert_eq!(count(&format!("key_id={}", bob.key.0)).await, 0);
        assert_eq!(count("model=kai-fast").await, 4);
        assert_eq!(count(&format!("from={}", began + 2000)).await, 5);
        assert_eq!(count(&format!("from={}&to={}", began + 2000, began + 4000)).await, 2);
        assert_eq!(count(&format!("to={}", created.as_str().unwrap())).await, 6);

        let by_model = server.json(&ada, "/v1/billing/usage?group_by=model").await;
        assert_eq!((&by_model["group_by"], &by_model["truncated"]), (&json!("model"), &json!(false)));
        assert_eq!(
            by_model["sums"][0],
            json!({"model": "kai-fast", "attempts": 4, "tokens_in": 72, "tokens_out": 56, "tokens_cached": 16,
                "tokens_reasoning": 12, "cost_micros": 4012, "cost_kai": "0.004012"})
        );
        let by_key = server.json(&ada, "/v1/billing/usage?group_by=key").await;
        let keys: Vec<_> = by_key["sums"].as_array().unwrap().iter().map(|sum| &sum["key_id"]).collect();
        assert_eq!(keys, [&json!(ada.key.0), &json!(second.key.0)]);
        let by_day = server.json(&ada, "/v1/billing/usage?group_by=day&model=kai-smart").await;
        // The seconds of this test may lie on two days.
        let sums = by_day["sums"].as_array().unwrap();
        let sum = |field: &str| sums.iter().map(|sum| sum[field].as_u64().unwrap()).sum::<u64>();
        assert_eq!([sum("attempts"), sum("cost_micros")], [3_u64, 3009]);
        assert_eq!(by_day["sums"][0]["day"].as_str().unwrap().len(), 10);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_of_thirty_days_is_told_counts_down_and_comes_back() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        let ada = server.holder("ada@example.com", 5 * KAI, 100 * KAI, desk.now()).await;
        server.charge(&ada, "r1", "kai-fast", 420_000).await;
        let status = server.json(&ada, "/v1/usage").await["status"].clone();
        assert_eq!(
            status,
            json!({"tier": "developer", "cap_usd": 5.0, "used_usd": 0.42, "remaining_usd": 4.58, "percent": 8,
                "blocked": false, "cap_micros": 5_000_000, "used_micros": 420_000, "remaining_micros": 4_580_000,
                "held_micros": 0, "window_days": 30})
        );
        let payer = Payer { user: ada.user, key: Some(ada.key), has_key_cap: false };
        let charges = server.records.charges();
        let refused =
            charges.hold(payer, RequestName::new("r2").unwrap(), micros(4_580_001), 60, None).await.unwrap_err();
        assert!(matches!(refused, HoldError::UsageCapReached(window) if window.remaining.get() == 4_580_000));
        let hold = charges.hold(payer, RequestName::new("r3").unwrap(), micros(4_580_000), 60, None).await.unwrap();
        let status = server.json(&ada, "/v1/usage").await["status"].clone();
        assert_eq!(
            [&status["blocked"], &status["remaining_usd"], &status["held_micros"]],
            [&json!(true), &json!(0.0), &json!(4_580_000)]
        );
        charges.settle(&hold, micros(4_580_000), attempt("kai-fast"), None).await.unwrap();
        let status = server.json(&ada, "/v1/usage").await["status"].clone();
        assert_eq!([&status["percent"], &status["used_usd"]], [&json!(100), &json!(5.0)]);
        desk.pass(30 * DAY);
        let status = server.json(&ada, "/v1/usage").await["status"].clone();
        assert_eq!([&status["blocked"], &status["remaining_usd"]], [&json!(false), &json!(5.0)]);

        let bob = server.holder("bob@example.com", 0, KAI, desk.now()).await;
        let status = server.json(&bob, "/v1/usage").await["status"].clone();
        let unlimited = [&status["cap_usd"], &status["percent"], &status["remaining_micros"], &status["blocked"]];
        assert_eq!(unlimited, [&Value::Null, &Value::Null, &Value::Null, &json!(false)]);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_has_every_movement_and_its_balances_add_up() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        let ada = server.holder("ada@example.com", 0, 10 * KAI, desk.now()).await;
        desk.pass(60);
        for number in 0..3 {
            server.charge(&ada, &format!("r{number}"), "kai-fast", 250_000).await;
            desk.pass(60);
        }
        let text = server.get(&ada, "/v1/billing/statement").send().await.unwrap();
        assert_eq!(text.headers()["content-type"], "text/csv; charset=utf-8; header=present");
        let text = text.text().await.unwrap();
        let mut rows = text.strip_suffix("\r\n").unwrap().split("\r\n");
        assert_eq!(rows.next(), Some("time,entry,purpose,transfer,credit_kai,debit_kai,balance_kai"));
        let cells: Vec<Vec<&str>> = rows.map(|row| row.split(',').collect()).collect();
        let told: Vec<_> = cells.iter().map(|row| [row[2], row[4], row[5], row[6]]).collect();
        assert_eq!(
            told,
            [
                ["opening", "", "", "0.00"],
                ["signup", "10.00", "", "10.00"],
                ["charge", "", "0.25", "9.75"],
                ["charge", "", "0.25", "9.50"],
                ["charge", "", "0.25", "9.25"]
            ]
        );
        assert!(cells.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@', '\t'])), "{text}");
        // From the second charge on, the opening is what was there then.
        let path = format!("/v1/billing/statement?from={}", cells[3][0]);
        let later = server.get(&ada, &path).send().await.unwrap().text().await.unwrap();
        let later: Vec<_> = later.lines().skip(1).map(|row| row.rsplit_once(',').unwrap().1.to_owned()).collect();
        assert_eq!(later, ["9.75", "9.50", "9.25"]);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_several_pages_is_whole() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        let ada = server.holder("ada@example.com", 0, 10 * KAI, desk.now()).await;
        let gifts = server.records.gifts();
        let given: Vec<_> = (0..2500)
            .map(|number| {
                let (gifts, user) = (gifts.clone(), ada.user);
                let cause = RequestName::new(format!("g{number}")).unwrap();
                async move { gifts.credit(user, micros(1), &cause, None).await.unwrap() }
            })
            .collect();
        futures_util::future::join_all(given).await;
        desk.pass(1);
        let text = server.get(&ada, "/v1/billing/statement").send().await.unwrap().text().await.unwrap();
        let balances: Vec<_> = text.lines().skip(2).map(|row| row.rsplit_once(',').unwrap().1.to_owned()).collect();
        assert_eq!(balances.len(), 2501);
        assert_eq!(balances.last().map(String::as_str), Some("10.0025"));
        let entries: Vec<u64> =
            text.lines().skip(2).map(|row| row.split(',').nth(1).unwrap().parse().unwrap()).collect();
        assert!(entries.is_sorted_by(|one, next| one < next));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_each_request_by_key_and_path_and_has_no_secret() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let bob = server.holder("bob@example.com", 0, KAI, desk.now()).await;
        for number in 0..3 {
            let asked = server.get(&ada, "/v1/billing/balance").header("x-request-id", format!("mine-{number}"));
            assert_eq!(told(asked.send().await.unwrap()).await.0, 200);
            desk.pass(1);
        }
        let wrong = server.get(&ada, &format!("/v1/billing/usage?secret={}", ada.text)).send().await.unwrap();
        assert_eq!(told(wrong).await.0, 400);
        server.json(&bob, "/v1/billing/balance").await;

        written(&server, &ada, "/v1/billing/balance", 3).await;
        written(&server, &ada, "/v1/billing/usage", 1).await;
        let path = "/v1/audit?endpoint=/v1/billing/balance&limit=2";
        let first = server.json(&ada, path).await;
        let ids: Vec<_> = first["audit"].as_array().unwrap().iter().map(|row| row["request_id"].clone()).collect();
        assert_eq!(ids, ["mine-2", "mine-1"]);
        let second = server.json(&ada, &format!("{path}&cursor={}", first["next_cursor"].as_str().unwrap())).await;
        let mut row = second["audit"][0].clone();
        let row = row.as_object_mut().unwrap();
        for field in ["id", "created_at", "latency_ms"] {
            assert!(row.remove(field).is_some(), "{field}");
        }
        assert_eq!(
            Value::Object(row.clone()),
            json!({"method": "GET", "endpoint": "/v1/billing/balance", "status": 200, "cost_usd": 0.0, "cost_micros": 0,
                "key_id": ada.key.0, "request_id": "mine-0", "address": "127.0.0.1"})
        );
        assert_eq!((second["audit"].as_array().unwrap().len(), &second["next_cursor"]), (1, &Value::Null));
        let refused = server.json(&ada, "/v1/audit?endpoint=/v1/billing/usage").await;
        assert_eq!(refused["audit"][0]["status"], 400);
        // Not simply the newest rows: those are of this test's own looks at the audit.
        let all = format!("{first}{second}{refused}");
        assert!(!all.contains(&ada.text) && all.contains("mine-0"), "{all}");
        server.close().await;
    })
    .await;
}

/// Waits until the audit has that many rows of a path: they are written a moment after the answer.
async fn written(server: &Server, holder: &Holder, path: &str, count: usize) {
    let path = Text::new(path).unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while server.records.audit().page(holder.user, Some(&path), None, 500).await.unwrap().len() != count {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "{path} never has {count} rows");
}
