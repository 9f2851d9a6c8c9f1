//! Accounts of the running program: keys and what becomes of open streams, the command line beside a server.

use std::{
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, stream::MaybeTlsStream};

use crate::{
    clients::QUIET,
    process::{Kandle, tempdir},
};

/// How soon a stream must end once its key is no good.
const ENDED_WITHIN: Duration = Duration::from_secs(1);

/// A configuration with accounts in `folder`.
pub(crate) fn with_accounts(folder: &Path) -> String {
    let folder = folder.display();
    format!("{QUIET}\n[records]\nurl = \"sqlite:{folder}/records.db\"\n[accounts]\nsecret_file = \"{folder}/secret\"\n")
}

fn connect(kandle: &Kandle, key: &str) -> WebSocket<MaybeTlsStream<TcpStream>> {
    tungstenite::connect(format!("{}?api_key={key}", kandle.ws_url)).unwrap().0
}

/// The close code that ends a stream, which must come by `deadline`.
fn close_code(socket: &mut WebSocket<MaybeTlsStream<TcpStream>>, deadline: Instant) -> u16 {
    let MaybeTlsStream::Plain(plain) = socket.get_ref() else { panic!("no TLS here") };
    plain.set_read_timeout(Some(deadline.saturating_duration_since(Instant::now()) + ENDED_WITHIN)).unwrap();
    loop {
        if let Message::Close(Some(frame)) = socket.read().expect("the stream goes on") {
            return frame.code.into();
        }
    }
}

pub(crate) fn new_key(kandle: &Kandle, user: &str, more: &[&str]) -> (String, String) {
    let mut arguments = vec!["keys", "create", "--user", user, "--name", "test"];
    arguments.extend(more);
    let made = kandle.beside(&arguments).remove(0);
    (made["api_key"].as_str().unwrap().to_owned(), made["key_id"].to_string())
}

/// Connects until the key is let in: another process made it, and the server follows.
fn await_let_in(kandle: &Kandle, key: &str) -> WebSocket<MaybeTlsStream<TcpStream>> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut socket = connect(kandle, key);
        if let Message::Text(text) = socket.read().unwrap() {
            assert!(text.contains("welcome"), "{text}");
            return socket;
        }
        assert!(Instant::now() < deadline, "a new key is not let in");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_command_line_beside_a_server_lets_keys_in_and_ends_their_streams() {
    let kandle = Kandle::serve(&with_accounts(&tempdir()));
    let user = kandle.beside(&["accounts", "create", "ann@example.com", "--credit", "10"]).remove(0);
    assert_eq!((&user["email"], &user["tier"]), (&"ann@example.com".into(), &"developer".into()));
    let (key, id) = new_key(&kandle, "ann@example.com", &[]);
    let mut stream = await_let_in(&kandle, &key);
    kandle.beside(&["keys", "revoke", &id]);
    let revoked = Instant::now();
    assert_eq!(close_code(&mut stream, revoked + ENDED_WITHIN), 4401);
    assert!(revoked.elapsed() < ENDED_WITHIN, "{:?}", revoked.elapsed());
    assert_eq!(close_code(&mut connect(&kandle, &key), Instant::now() + ENDED_WITHIN), 4401);

    let (admin, _) = new_key(&kandle, "ann@example.com", &["--scope", "admin"]);
    let (key, id) = new_key(&kandle, "ann@example.com", &[]);
    let mut stream = await_let_in(&kandle, &key);
    let answer = kandle.ask("DELETE", &format!("/v1/auth/api-keys/{id}"), &admin).unwrap();
    let revoked = Instant::now();
    assert!(answer.contains("revoked_at"), "{answer}");
    assert_eq!(close_code(&mut stream, revoked + ENDED_WITHIN), 4401);
    assert!(revoked.elapsed() < ENDED_WITHIN, "{:?}", revoked.elapsed());

    let (key, _) = new_key(&kandle, "ann@example.com", &[]);
    let mut stream = await_let_in(&kandle, &key);
    kandle.beside(&["accounts", "disable", "ann@example.com"]);
    let disabled = Instant::now();
    assert_eq!(close_code(&mut stream, disabled + ENDED_WITHIN), 4401);
    assert!(disabled.elapsed() < ENDED_WITHIN, "{:?}", disabled.elapsed());
    kandle.beside(&["accounts", "enable", "ann@example.com"]);
    await_let_in(&kandle, &key);

    let (elsewhere, _) = new_key(&kandle, "1", &["--allow", "192.0.2.0/24"]);
    let (here, _) = new_key(&kandle, "1", &["--allow", "127.0.0.0/8"]);
    await_let_in(&kandle, &here);
    assert_eq!(close_code(&mut connect(&kandle, &elsewhere), Instant::now() + ENDED_WITHIN), 4401);
}

#[test]
fn a_tier_says_how_many_streams_a_key_may_have_and_keys_of_the_file_keep_theirs() {
    let config = with_accounts(&tempdir());
    let kandle = Kandle::serve(&format!("{config}\n[tiers.developer]\nconnections = 2\nrequests_per_minute = 30\n"));
    kandle.beside(&["accounts", "create", "bob@example.com"]);
    let (key, _) = new_key(&kandle, "bob@example.com", &["--scope", "read"]);
    let open = [await_let_in(&kandle, &key), await_let_in(&kandle, &key)];
    assert_eq!(close_code(&mut connect(&kandle, &key), Instant::now() + ENDED_WITHIN), 4429);
    drop(open);
    let open: Vec<_> = (0..10).map(|_| await_let_in(&kandle, &kandle.key)).collect();
    assert_eq!(close_code(&mut connect(&kandle, &kandle.key), Instant::now() + ENDED_WITHIN), 4429);
    drop(open);
}

#[test]
fn the_books_of_a_running_server_are_right_and_a_changed_amount_is_found() {
    let folder = tempdir();
    let mut kandle = Kandle::serve(&with_accounts(&folder));
    kandle.beside(&["accounts", "create", "ann@example.com", "--credit", "10"]);
    let given = kandle.beside(&["accounts", "credit", "ann@example.com", "2.5", "--cause", "a-gift"]).remove(0);
    assert_eq!((&given["moved"], &given["balance_micros"]), (&true.into(), &12_500_000.into()));
    let again = kandle.beside(&["accounts", "credit", "ann@example.com", "2.5", "--cause", "a-gift"]).remove(0);
    assert_eq!((&again["moved"], &again["balance_micros"]), (&false.into(), &12_500_000.into()));
    let verified = kandle.beside(&["ledger", "verify"]).remove(0);
    let head = verified["head"].as_str().unwrap().to_owned();
    kandle.beside(&["accounts", "debit", "1", "1", "--cause", "b"]);
    assert!(
        kandle.beside(&["ledger", "verify", "--head", &head])[0]["entries"].as_u64() > verified["entries"].as_u64()
    );
    kandle.terminate();

    // Somebody edits the database: one amount of one account.
    let path = folder.join("records.db");
    let edit = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                db.execute('UPDATE ledger_accounts SET credits_posted = credits_posted + 1 WHERE credits_posted = 12500000'); \
                assert db.total_changes == 1; db.commit()";
    let edited = std::process::Command::new("python3").args(["-c", edit, path.to_str().unwrap()]).status().unwrap();
    assert!(edited.success());
    let config = folder.join("verify.toml");
    std::fs::write(&config, with_accounts(&folder)).unwrap();
    let verify = crate::process::command(&["ledger", "verify", "--config", config.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(verify.stderr).unwrap();
    assert!(!verify.status.success() && said.contains("other sums than the journal says"), "{said}");
}

/// What a client of the demo finds: a key of an account with play money.
#[test]
fn the_demo_has_an_account_with_play_money() {
    let kandle = Kandle::demo();
    assert!(kandle.key.starts_with("kai-") && kandle.key.len() == 40);
    let symbols: Value = kandle.json("/v1/market/symbols");
    assert_eq!(symbols["symbols"][0]["symbol"], "BTC");
    await_let_in(&kandle, &kandle.key);
}
