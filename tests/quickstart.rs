//! The documentation's first minutes with real `curl`, and what a thief finds who reads all that the server leaves behind.

use std::{path::Path, process::Command};

use stripe_fake::Fake;

use crate::{
    accounts::with_accounts,
    clients::script,
    process::{Kandle, tempdir},
};

/// Secrets that this test knows, each of a shape that nothing else has.
const PASSWORD: &str = "a-long-password";
const STRIPE_KEY: &str = "sk_test_planted_51H8zQx";
const WEBHOOK_SECRET: &str = "whsec_planted_8f3kQz71";

fn with_cards(folder: &Path, stripe: &str) -> String {
    format!(
        "{}\n[stripe]\napi_base = \"{stripe}\"\nsecret_key = \"{STRIPE_KEY}\"\nwebhook_secret = \"{WEBHOOK_SECRET}\"\n",
        with_accounts(folder)
    )
}

fn curl(kandle: &Kandle, stripe: &str, name: &str) -> String {
    let mut shell = Command::new("bash");
    shell
        .arg(script(name))
        .env("KAI_URL", &kandle.url)
        .env("STRIPE_FAKE", stripe)
        .env("WEBHOOK_SECRET", WEBHOOK_SECRET);
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text.into_owned()
}

#[test]
fn the_first_minutes_with_curl_end_with_credits_and_right_books() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fake = runtime.block_on(Fake::start(([127, 0, 0, 1], 0).into(), STRIPE_KEY)).unwrap();
    let folder = tempdir();
    let mut kandle = Kandle::serve_logging(&with_cards(&folder, fake.base()), &folder.join("log"));
    let said = curl(&kandle, fake.base(), "quickstart.sh");
    assert!(said.contains("balance before: 0\n"), "{said}");
    assert!(said.contains("balance after: 25000000\n"), "twenty-five, once: {said}");
    assert!(said.contains("jenny.rosen@example.com"), "{said}");
    assert_eq!(kandle.beside(&["accounts", "show", "1"])[1]["balance_micros"], 25_000_000);
    kandle.beside(&["ledger", "verify"]);
    let metrics = kandle.get("/metrics").unwrap();
    kandle.terminate();

    // The key was shown once; what the shell printed is its beginning.
    let shown = said.lines().find_map(|line| line.strip_prefix("key ")).unwrap().trim_end_matches('…');
    assert!(shown.starts_with("kai-"), "{shown}");
    let planted = [PASSWORD, STRIPE_KEY, WEBHOOK_SECRET];
    let secret = std::fs::read_to_string(folder.join("secret")).unwrap();
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // The one file that holds the server's own secret.
        if path.is_dir() || path.ends_with("secret") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        read += bytes.len();
        for word in planted.iter().copied().chain([secret.trim()]) {
            assert!(!contains(&bytes, word), "{} has {word}", path.display());
        }
        assert!(!has_whole_key(&bytes, shown), "{} has a whole key", path.display());
    }
    assert!(read > 10_000, "the database and the log were read: {read}");
    assert!(planted.iter().all(|word| !metrics.contains(word) && !said.contains(word)));
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Whether the letters behind the shown beginning of a key go on as a key does.
fn has_whole_key(bytes: &[u8], shown: &str) -> bool {
    let begins = bytes.windows(shown.len()).enumerate().filter(|(_, window)| *window == shown.as_bytes());
    begins.map(|(at, _)| at).any(|at| {
        let key = bytes.get(at..at + 40).unwrap_or_default();
        key.len() == 40 && key[4..].iter().all(u8::is_ascii_alphanumeric)
    })
}
