//! Stripe's own Python library judges the fake, and with it what this crate sends.

use std::process::Command;

use stripe::CheckoutRequest;

use crate::stage::{KEY, fake};

/// The Python that `tests/run.sh` prepares; without it the test is skipped, and with `KANDLE_REQUIRE_CLIENTS=1` it fails instead.
fn python() -> Option<String> {
    let python = std::env::var("KANDLE_PYTHON").ok();
    let usable = python.filter(|python| {
        Command::new(python).args(["-c", "import stripe"]).output().is_ok_and(|output| output.status.success())
    });
    assert!(usable.is_some() || std::env::var_os("KANDLE_REQUIRE_CLIENTS").is_none(), "no Python with `stripe`");
    if usable.is_none() {
        eprintln!("skipped: run tests/run.sh, which prepares the clients");
    }
    usable
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_library_takes_the_fake_for_stripe() {
    let Some(python) = python() else { return };
    let (fake, _client) = fake().await;
    let (script, base) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/official.py"), fake.base().to_owned());
    let run = move || Command::new(python).args([script, &base, KEY]).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("the fake passes"), "{said}");

    // The script's first request has awkward values; this crate sends the same bytes for them.
    let odd = "~*é 🎉 &=+%[]\"'<>/?#;:@!$(),|\\^`{}";
    let email = "a+b@example.com";
    let request = CheckoutRequest {
        usd_cents: 2500,
        product: odd,
        success_url: "https://example.com/success?a=b&session_id={CHECKOUT_SESSION_ID}",
        cancel_url: "https://example.com/cancel#back",
        client_reference_id: "user-1 *~",
        customer_email: Some(email),
        metadata: &[("user_id", "1"), ("note", odd)],
        payment_metadata: &[("user_id", "1"), ("note", odd)],
    };
    assert_eq!(request.form().as_deref(), Ok(fake.requests()[0].body.as_str()));
}
