//! Whoever means harm.

use auth::{Secret, Timestamp, Tokens};
use records::UserId;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::stage::{PASSWORD, Stage, on_each_database};
use crate::stage::START;

const EMAIL: &str = "angel@example.com";

/// What `bytes` are in the alphabet of tokens.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0_usize, |word, at| word << 8 | usize::from(*chunk.get(at).unwrap_or(&0)));
        text.extend((0..=chunk.len()).map(|at| char::from(ALPHABET[word >> (18 - 6 * at) & 63])));
    }
    text
}

#[tokio::test]
async fn a_token_that_was_not_issued_here_and_now_is_refused() {
    let stage = Stage::sqlite(Default::default()).await;
    let token = stage.token(EMAIL).await;
    let other = stage.token("bob@example.com").await;
    let now = Timestamp::from_seconds((START as u64 + 25 * 3_600_000) / 1000);
    let foreign = Tokens::new(&Secret::from_text(&"5b".repeat(32)).unwrap()).issue(1, now).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let others: Vec<_> = other.split('.').collect();
    let (head, claims, mark) = (parts[0], parts[1], parts[2]);
    let none = base64(br#"{"alg":"none","typ":"at+jwt"}"#);
    let seconds = now.seconds();
    let admin = base64(
        format!(
            r#"{{"iss":"kandle","aud":"kandle-api","sub":"2","iat":{seconds},"nbf":{seconds},"exp":{}}}"#,
            seconds + 900
        )
        .as_bytes(),
    );
    let header = |text: &str| base64(text.as_bytes());
    for forged in [
        foreign.reveal().to_owned(),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{mark}"),
        format!("{none}.{admin}."),
        format!("{head}.{admin}.{mark}"),
        format!("{head}.{claims}.{}", others[2]),
        format!("{head}.{}.{mark}", others[1]),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{}", &mark[1..]),
        format!("{}.{claims}.{mark}", header(r#"{"alg":"HS512","typ":"at+jwt"}"#)),
        format!("{}.{claims}.{mark}", header(r#"{"alg":"RS256","typ":"at+jwt"}"#)),
        format!("{}.{claims}.{mark}", header(r#"{"alg":"HS256","typ":"at+jwt","kid":"../../dev/null"}"#)),
        format!("{head}.{claims}.{mark}{}", "A".repeat(2000)),
    ] {
        let answer = stage.get("/v1/me", &forged).await;
        assert_eq!(answer.problem(), (401, "invalid_token", "-"), "{forged}");
        assert!(!answer.text.contains(claims), "what was sent is not repeated");
    }
    stage.get("/v1/me", &token).await.sure(200);
    stage.pass(904);
    stage.get("/v1/me", &token).await.sure(200);
    stage.pass(1);
    assert_eq!(stage.get("/v1/me", &token).await.problem(), (401, "expired_token", "-"));
}

#[tokio::test]
async fn what_is_no_key_is_refused_without_repeating_it() {
    let stage = Stage::sqlite(Default::default()).await;
    let (_, key) = stage.key(&stage.token(EMAIL).await, &["read"]).await;
    let mut typo = key.clone().into_bytes();
    typo[10] = if typo[10] == b'x' { b'y' } else { b'x' };
    let typo = String::from_utf8(typo).unwrap();
    for (credential, code) in [
        (typo.as_str(), "invalid_api_key"),
        ("kai-000000000000000000000000000000AAAAAA", "invalid_api_key"),
        ("' OR '1'='1", "invalid_api_key"),
        ("..", "invalid_api_key"),
        ("eyJ", "invalid_api_key"),
        (&"x".repeat(5000), "missing_api_key"),
    ] {
        let answer = stage.get("/v1/me", credential).await;
        assert_eq!(answer.problem(), (401, code, "-"), "{credential}");
        assert!(!answer.text.contains(credential));
    }
    for header in ["Basic YTpi", "Bearer", "Bearer ", &key] {
        let answer = stage.ask(Method::GET, "/v1/me", &[("authorization", header)], None).await;
        assert_eq!(answer.problem(), (401, "missing_api_key", "-"), "{header}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_json_objects_and_nothing_else() {
    let stage = Stage::sqlite(Default::default()).await;
    let right = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    for path in ["/v1/auth/register", "/v1/auth/login"] {
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            let answer = stage.ask(Method::POST, path, &[("content-type", kind)], Some(right.as_bytes())).await;
            assert_eq!(answer.problem(), (415, "unsupported_media_type", "-"), "{kind}");
        }
        let padded = format!("{}{right}", " ".repeat(64 * 1024));
        let answer = stage.ask(Method::POST, path, &[], Some(padded.as_bytes())).await;
        assert_eq!(answer.problem(), (413, "body_too_large", "-"));
        let nested = format!("{{\"email\":{}{}", "[".repeat(30_000), "]".repeat(30_000));
        for body in [&b""[..], b"null", b"[]", b"\"x\"", b"{", b"\xff\xfe", b"{\"email\":\"\xff\"}", nested.as_bytes()]
        {
            let answer = stage.ask(Method::POST, path, &[], Some(body)).await;
            assert_eq!(answer.status, 400, "{}", String::from_utf8_lossy(&body[..body.len().min(40)]));
            assert!(answer.body["error"].is_string());
        }
        let answer = stage.ask(Method::GET, path, &[], None).await;
        assert_eq!((answer.problem(), answer.header("allow")), ((405, "method_not_allowed", "-"), Some("POST")));
    }
    let kind = [("content-type", "application/json; charset=utf-8")];
    stage.ask(Method::POST, "/v1/auth/register", &kind, Some(right.as_bytes())).await.sure(201);
}

#[tokio::test]
async fn text_that_looks_like_sql_is_text() {
    on_each_database(async |stage| {
        let evil = "'; DROP TABLE users; -- \" $1 %s {{7*7}} <script>";
        let body = json!({"email": "o'brien+x@example.com", "password": PASSWORD, "username": evil});
        let session = stage.post("/v1/auth/register", &body).await.sure(201);
        assert_eq!(session.body["user"]["username"], evil);
        let token = session.text_at("token");
        assert_eq!(stage.get("/v1/me", &token).await.sure(200).body["username"], evil);
        stage.mint(&token, &json!({"name": evil})).await.sure(201);
        let list = stage.get("/v1/auth/api-keys", &token).await.sure(200);
        assert_eq!(list.body["api_keys"][0]["name"], evil);
        assert_eq!(list.header("content-type"), Some("application/json"));
        assert_eq!(list.header("x-content-type-options"), Some("nosniff"));
        stage.login("o'brien+x@example.com", PASSWORD).await.sure(200);
        for email in ["' OR ''='@example.com", "x@example.com' --", "%@example.com", "*@example.com"] {
            stage.login(email, PASSWORD).await.sure(401);
        }
    })
    .await;
}

#[tokio::test]
async fn no_value_of_a_client_becomes_a_header_of_an_answer() {
    let stage = Stage::sqlite(Default::default()).await;
    let body = json!({"email": EMAIL, "password": PASSWORD, "username": "a"}).to_string();
    // Bytes that no HTTP client would send: the line breaks are bare or folded.
    for evil in ["x-request-id: a\r\n x-evil: 1", "x-request-id: a\rx-evil: 1", "idempotency-key: a\rx-evil: 1"] {
        let request = format!(
            "POST /v1/auth/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{evil}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(stage.address()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4") && !answer.contains("x-evil"), "{answer}");
    }
    assert_eq!(stage.records.users().by_id(UserId(1)).await.unwrap(), None);
    for id in ["a b", "a;b", "ä", &"x".repeat(65)] {
        let answer = stage.ask(Method::GET, "/v1/ping", &[("x-request-id", id)], None).await.sure(200);
        assert_ne!(answer.headers["x-request-id"].as_bytes(), id.as_bytes());
    }
}
