//! The fake as a process, asked by a client that knows only its URL.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_process_says_its_url_and_takes_actions_by_http() {
    let command = Command::new(env!("CARGO_BIN_EXE_stripe-fake"))
        .args(["127.0.0.1:0", "sk_test_process"])
        .stdout(Stdio::piped())
        .spawn();
    let mut process = Ended(command.unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let base = line.trim().strip_prefix("STRIPE_API_BASE=").unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |path: &str, form: &str| {
        let request = client.post(format!("{base}{path}")).bearer_auth("sk_test_process").body(form.to_owned());
        async move { request.header("stripe-version", "2026-10-28.endive").send().await.unwrap() }
    };
    let form = "mode=payment&success_url=http://a/&line_items[0][quantity]=2&line_items[0][price_data][currency]=usd\
                &line_items[0][price_data][unit_amount]=1500&line_items[0][price_data][product_data][name]=myproduct";
    let answer = post("/v1/checkout/sessions", form).await.text().await.unwrap();
    let session: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(session["amount_total"], 3000);
    let id = session["id"].as_str().unwrap();
    let answer = post(&format!("/_fake/sessions/{id}/pay"), "").await.text().await.unwrap();
    assert!(answer.contains("evt_1"), "{answer}");
    for (path, status) in
        [("/_fake/sessions/cs_none/pay", 404), ("/_fake/sessions/x/fly", 400), ("/_fake/x", 404), ("/v1/x", 404)]
    {
        assert_eq!(post(path, "").await.status().as_u16(), status, "{path}");
    }
}

#[test]
fn the_fake_is_for_this_machine_only() {
    let output = Command::new(env!("CARGO_BIN_EXE_stripe-fake")).arg("0.0.0.0:0").output().unwrap();
    assert!(!output.status.success());
}
