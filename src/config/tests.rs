//! Settings as a user writes them, right and wrong.

use std::{fs, path::PathBuf};

use super::*;

const SAMPLE: &str = include_str!("../../kandle.sample.toml");

fn none() -> Vec<(String, String)> {
    Vec::new()
}

fn problem(text: &str) -> String {
    match Config::parse(text) {
        Ok(_) => "fine".to_owned(),
        Err((line, problem)) => format!("line {line}: {problem}"),
    }
}

#[track_caller]
fn check(text: &str, parts: &[&str]) {
    let problem = problem(text);
    for part in parts {
        assert!(problem.contains(part), "{part:?} is not in {problem:?}");
    }
}

fn same(left: &Config, right: &Config) {
    assert_eq!(left.listen, right.listen);
    assert_eq!((left.workers, left.shards), (right.workers, right.shards));
    assert_eq!(left.limits, right.limits);
    assert_eq!((left.deflate, &left.tls), (right.deflate, &right.tls));
    assert_eq!(left.store, right.store);
    assert_eq!(left.venues, right.venues);
    assert_eq!(left.http, right.http);
    assert_eq!(format!("{:?}", left.llm), format!("{:?}", right.llm));
    let (own, other) = (&left.accounts, &right.accounts);
    let shown = |accounts: &AccountsConfig| accounts.records.as_ref().map(ToString::to_string);
    assert_eq!(shown(own), shown(other));
    assert_eq!((&own.secret_file, own.is_open, &own.tier), (&other.secret_file, other.is_open, &other.tier));
    assert_eq!((own.signup_credit_micros, &own.tiers), (other.signup_credit_micros, &other.tiers));
    let sorted = |config: &Config| {
        let mut symbols = config.symbols.clone();
        symbols.sort_by(|a, b| a.alias.cmp(&b.alias));
        symbols
    };
    assert_eq!(sorted(left), sorted(right));
}

#[test]
fn the_examples_of_the_sample_are_valid() {
    let part = SAMPLE.split("\n[llm]\n").nth(1).unwrap().split("\n# Venues").next().unwrap();
    let bare = part.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let is_setting = |line: &&str| {
        let name = line.split(" = ").next().unwrap();
        line.starts_with('[') || (name != *line && !name.contains(' '))
    };
    let example: Vec<_> = bare.filter(is_setting).collect();
    let config = Config::from_file(Config::parse(&format!("[llm]\n{}", example.join("\n"))).unwrap()).llm;
    assert_eq!((config.providers.len(), config.models.len(), config.aliases.len()), (2, 2, 2));
    assert_eq!(config.models[1].price.rates.output, 2_500_000);
}

#[test]
fn the_sample_is_valid_and_says_the_defaults_when_uncommented() {
    same(&Config::from_file(Config::parse(SAMPLE).unwrap()), &Config::default());
    let setting = |line: &&str| !line.starts_with("# ");
    let bare: Vec<&str> = SAMPLE.lines().filter(setting).map(|line| line.trim_start_matches('#')).collect();
    let config = Config::from_file(Config::parse(&bare.join("\n")).unwrap_or_else(|error| panic!("{error:?}")));
    same(&config, &Config::default());
    assert_eq!(config.keys.len(), 1);
    assert!(config.symbols.len() >= 100);
}

#[test]
fn an_unknown_name_says_its_line_and_the_nearest_known_one() {
    check("listen = \"127.0.0.1:1\"\nlimit = 3", &["line 2", "`limit`", "did you mean `limits`"]);
    check("[limits]\n\noutbox_byte = 1", &["line 3", "`outbox_byte`", "did you mean `outbox_bytes`"]);
    check("[stream]\ndefalte = false", &["line 2", "`defalte`", "did you mean `deflate`"]);
    check("[store]\nurl = \"postgres://me:secret@host\"", &["line 2", "redb: or questdb:", "\"none\" keeps nothing"]);
    assert!(!problem("[store]\nurl = \"postgres://me:secret@host\"").contains("secret"));
    check("[venues.binance]\nwsurl = \"wss://x\"", &["line 2", "`wsurl`", "did you mean `ws_url`"]);
    check("[venues.binanse]\nenabled = true", &["line 1", "`binanse`", "did you mean `binance`"]);
    check("[symbols]\nBTC = \"kracken:BTC/USD\"", &["line 2", "BTC", "did you mean `kraken`"]);
    check("[symbols]\nBTC = \"BTCUSDT\"", &["line 2", "BTC", "binance:BTCUSDT"]);
    check("[symbols]\n\"B C\" = \"binance:BTCUSDT\"", &["line 2", "B C"]);
}

#[test]
fn a_value_out_of_bounds_says_the_bounds() {
    check("[limits]\nlate_window_ms = 400001", &["line 2", "late_window_ms", "from 0 to 400000"]);
    check("[limits]\noutbox_bytes = 1", &["line 2", "outbox_bytes", "from 65536"]);
    check("[limits]\nconnections_per_key = \"x\"", &["line 2", "connections_per_key", "whole number"]);
    check("listen = \"8080\"", &["line 1", "listen", "ADDRESS:PORT"]);
    check("[venues.okx]\nrest_url = \"wss://x\"", &["line 2", "rest_url", "https://"]);
    check("[venues.okx]\nws_url = \"wss://\"", &["line 2", "ws_url"]);
    check("listen = ", &["line 1"]);
}

#[test]
fn a_wrong_key_is_never_repeated() {
    for text in ["[[keys]]\nkey = \"secret word\"", "[[keys]]\nkey = 123456789", "[[keys]]\nkey = \"kai-\""] {
        let problem = problem(text);
        assert!(problem.starts_with("line 2: `key`"), "{problem}");
        assert!(!problem.contains("secret") && !problem.contains("123456789"), "{problem}");
    }
    let twice = problem("[[keys]]\nkey = \"kai-aaaaaaaa\"\n[[keys]]\nkey = \"kai-aaaaaaaa\"");
    assert!(twice.starts_with("line 4: ") && !twice.contains("kai-"), "{twice}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let var = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = [
        var("KANDLE_LISTEN", "0.0.0.0:9"),
        var("KANDLE_LIMITS__OUTBOX_BYTES", "70000"),
        var("KANDLE_VENUES__BINANCE__WS_URL", "ws://127.0.0.1:7"),
        var("KANDLE_STREAM__DEFLATE", "false"),
        var("KANDLE_VENUES__OKX__ENABLED", "false"),
        var("KANDLE_SYMBOLS__BTC", "kraken:BTC/USD"),
        var("KANDLE_API_KEY", "kai-ignored-here"),
        var("PATH", "elsewhere"),
    ];
    let config = Config::load(None, environment).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:9");
    assert_eq!(config.limits.outbox_bytes, 70_000);
    assert!(!config.deflate && Config::default().deflate);
    assert_eq!(config.venues[0].ws_url, "ws://127.0.0.1:7");
    assert!(!config.venues[4].enabled);
    assert_eq!(config.symbols.iter().find(|symbol| symbol.alias == "BTC").unwrap().venue, Venue::Kraken);
    assert!(config.symbols.len() >= 100);
    assert_eq!(config.directory().symbols().filter(|(_, known)| known.venue == Venue::Okx).count(), 0);
}

#[test]
fn an_unknown_variable_is_an_error_that_names_it() {
    for (name, value, part) in [
        ("KANDLE_LIMITS__OUTBOX_BYTE", "70000", "did you mean `outbox_bytes`"),
        ("KANDLE_LISTN", "127.0.0.1:80", "did you mean `listen`"),
        ("KANDLE_LIMITS__LATE_WINDOW_MS", "soon", "whole number"),
        ("KANDLE_KEYS", "kai-secret-secret", "[[keys]]"),
        ("KANDLE_", "1", "KANDLE_TABLE__NAME"),
    ] {
        let error = Config::load(None, [(name.to_owned(), value.to_owned())]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(part), "{error}");
        assert!(!error.contains("kai-secret"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = PathBuf::from("/nowhere/kandle.toml");
    let error = Config::load(Some(&path), none()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/kandle.toml"), "{error}");
    let path = std::env::temp_dir().join(format!("kandle-config-{}.toml", std::process::id()));
    fs::write(&path, "[limits]\nlate = 1").unwrap();
    let error = Config::load(Some(&path), none()).map(|_| ()).unwrap_err().to_string();
    fs::remove_file(&path).unwrap();
    assert!(error.contains("kandle-config-") && error.contains("line 2"), "{error}");
}

#[test]
fn a_certificate_needs_its_key() {
    let var = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let (cert, key) = (var("KANDLE_TLS__CERT", "/a/cert.pem"), var("KANDLE_TLS__KEY", "/a/key.pem"));
    let config = Config::load(None, [cert.clone(), key.clone()]).unwrap();
    assert_eq!(config.tls, Some(TlsFiles { cert: "/a/cert.pem".into(), key: "/a/key.pem".into() }));
    for half in [cert, key] {
        let error = Config::load(None, [half]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("[tls]") && error.contains("give both"), "{error}");
    }
}

#[test]
fn a_tier_that_is_named_must_be_described() {
    let load = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kandle.toml");
        fs::write(&path, text).unwrap();
        Config::load(Some(&path), none()).map_err(|error| error.to_string())
    };
    let error = load("[accounts]\ntier = \"gold\"").err().unwrap();
    assert!(
        error.contains("no tier `gold`") && error.contains("developer") && error.contains("[tiers.gold]"),
        "{error}"
    );
    let config = load(
        "[accounts]\ntier = \"gold\"\n[tiers.gold]\nrequests_per_minute = 600\nburst = 900\n\
         [[keys]]\nkey = \"kai-0123456789\"\ntier = \"pro\"",
    )
    .unwrap();
    let gold = config.accounts.tiers.get("gold").unwrap();
    assert_eq!((gold.quota.map(|quota| quota.burst()), gold.cap_micros), (Some(900), None));
    assert_eq!(config.keys[0].tier, "pro");
    check("[accounts]\ntier = \"Gold\"", &["line 2", "small letters"]);
    check("[tiers.gold]\nburst = 0", &["line 2", "1 to 10000000"]);
}

#[test]
fn a_secret_is_not_repeated_by_an_error() {
    for text in
        ["[stripe]\nsecret_key = \"sk\u{7f}_live_abcdefgh\"", "[records]\nurl = \"mysql://me:sk_live_abcdefgh@host\""]
    {
        let problem = problem(text);
        assert!(problem.contains("line 2") && !problem.contains("abcdefgh"), "{problem}");
    }
}
