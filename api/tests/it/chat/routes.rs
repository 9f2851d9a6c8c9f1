//! The other routes: one prompt with its price, tasks, and what there is to choose from.

use scripted::Upstream;
use serde_json::json;

use super::stage::{FEE, INPUT_MAX, Menu, funds, whole};
use crate::billing::desk::{Desk, KAI, on_each_database, told};

#[tokio::test(flavor = "multi_thread")]
async fn one_prompt_is_answered_with_what_it_cost_in_its_parts() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("up", 20, 7)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let asked = json!({"prompt": "How is BTC?", "system": "Be brief.", "max_tokens": 50});
        let (status, body) = told(server.post_as(&ada, "/v1/ai/chat", &asked).send().await.unwrap()).await;
        assert_eq!((status, &body["answer"], &body["model"]), (200, &json!("up"), &json!("cheap")), "{body}");
        assert_eq!(body["breakdown"], json!({"input_micros": 20, "output_micros": 14, "fee_micros": FEE}));
        assert_eq!((&body["cost_micros"], &body["balance_micros"]), (&json!(34 + FEE), &json!(KAI - 34 - FEE)));
        assert_eq!((&body["tokens_in"], &body["tokens_out"]), (&json!(20), &json!(7)));
        assert_eq!(funds(&server, &ada).await, (KAI - 34 - FEE, 0));
        let messages = upstream.seen()[0].body["messages"].clone();
        assert_eq!((&messages[0]["role"], &messages[1]["content"]), (&json!("system"), &json!("How is BTC?")));
        // The audit has what the usage has.
        let page = server.json(&ada, "/v1/billing/usage").await;
        assert_eq!(page["usage"][0]["endpoint"], "/v1/ai/chat", "{page}");
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_to_the_cheapest_model_that_is_good_enough_or_where_it_is_sent() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("ok", 20, 7)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        for (more, model) in [
            (json!({"task_type": "summarize"}), "cheap"),
            (json!({"task_type": "analysis"}), "dear"),
            (json!({}), "dear"),
            (json!({"task_type": "summarize", "provider": "google"}), "dear"),
            (json!({"task_type": "analysis", "provider": "anthropic"}), "cheap"),
            (json!({"task_type": "summarize", "provider": "auto"}), "cheap"),
        ] {
            let mut asked = json!({"prompt": "x"});
            asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let (status, body) = told(server.post_as(&ada, "/v1/llm", &asked).send().await.unwrap()).await;
            assert_eq!((status, &body["model"], &body["ok"]), (200, &json!(model), &json!(true)), "{more}: {body}");
            let seen = upstream.seen().pop().unwrap().body;
            assert_eq!((&seen["max_tokens"], &seen["temperature"]), (&json!(1024), &json!(0.7)));
        }
        let asked = json!({"prompt": "x".repeat(36), "task_type": "summarize", "max_tokens": 100, "dry_run": true});
        let before = funds(&server, &ada).await;
        let (status, body) = told(server.post_as(&ada, "/v1/llm", &asked).send().await.unwrap()).await;
        assert_eq!((status, &body["model"]), (200, &json!("cheap")), "{body}");
        assert_eq!(body["cost_max_micros"], 10 * (INPUT_MAX + 200) + FEE, "the dearest that may be asked: {body}");
        assert_eq!((upstream.seen().len(), funds(&server, &ada).await), (6, before));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_have_their_prices_beside_and_providers_explain_the_routing() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("ok", 20, 7)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let list = server.json(&ada, "/v1/models").await;
        let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert_eq!((&list["object"], ids), (&json!("list"), vec!["kai-fast", "kai-smart", "cheap", "dear"]));
        for model in list["data"].as_array().unwrap() {
            assert_eq!(model["object"], "model");
            assert!(model["created"].is_u64() && model["owned_by"].is_string() && model["upstream"].is_string());
        }
        let fast = server.json(&ada, "/v1/models/kai-fast").await;
        assert_eq!((&fast["upstream"], &fast["reasoning_default"]), (&json!("cheap-upstream"), &json!(false)));
        assert_eq!(fast["pricing"]["output_micros_per_million"], 2_000_000);
        let (status, body) = told(server.get(&ada, "/v1/models/gpt-9").send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));

        let all = server.json(&ada, "/v1/providers?task_type=summarize").await;
        assert_eq!(
            (&all["providers"][0]["name"], &all["routing"]["order"]),
            (&json!("anthropic"), &json!(["cheap", "dear"]))
        );
        let all = server.json(&ada, "/v1/providers").await;
        assert_eq!(all["routing"]["order"], json!(["dear"]));
        assert_eq!(all["routing"]["candidates"][1]["excluded"], "grade");
        server.close().await;
    })
    .await;
}
