//! A server with accounts on an empty database, and clients at any address.

use std::{
    env,
    num::NonZeroUsize,
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use api::{
    Access, Accounts, App, SignupTerms,
    tiers::{ANONYMOUS, Tier, Tiers},
    view::View,
};
use auth::{HasherLimits, Keyring, PasswordHasher, Secret};
use ledger::{Micros, Timestamp};
use records::{Records, RecordsUrl, Word};
use reqwest::{
    Client, Method, StatusCode,
    header::{self, HeaderMap},
};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection, Executor};
use tempfile::TempDir;

use crate::stage::Fake;

pub(crate) const PASSWORD: &str = "a-long-password";
/// A key of the configuration.
pub(crate) const CONFIGURED: &str = "operator-key";
/// What the stage's own clients ask from; the server believes the header in which they say so.
pub(crate) const HERE: &str = "192.0.2.1";
const SECRET: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

/// How the server is set up.
pub(crate) struct Setup {
    pub(crate) is_open: bool,
    pub(crate) credit: u64,
    /// Whether a caller without a key is counted.
    pub(crate) is_limited: bool,
    pub(crate) hashes_waiting: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { is_open: true, credit: 0, is_limited: false, hashes_waiting: 64 }
    }
}

/// See the module.
pub(crate) struct Stage {
    pub(crate) view: Arc<Fake>,
    pub(crate) records: Arc<Records>,
    pub(crate) folder: TempDir,
    url: String,
    client: Client,
    database: Option<(String, String)>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    /// Status, code and field of an error of the plain family, or of the one with details.
    pub(crate) fn problem(&self) -> (u16, &str, &str) {
        let body = self.body.get("detail").unwrap_or(&self.body);
        (self.status.as_u16(), body["error"].as_str().unwrap_or("-"), body["field"].as_str().unwrap_or("-"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// A text of the body.
    #[track_caller]
    pub(crate) fn text_at(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("{name} in {}", self.text)).to_owned()
    }

    #[track_caller]
    pub(crate) fn sure(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

impl Stage {
    pub(crate) async fn sqlite(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("accounts.db").display());
        Self::on(&url, setup, folder).await
    }

    async fn postgres(server: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("a{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        execute(server, &format!("CREATE DATABASE {name}")).await;
        let (place, _) = server.rsplit_once('/').unwrap();
        let stage = Self::on(&format!("{place}/{name}"), Setup::default(), tempfile::tempdir().unwrap()).await;
        Self { database: Some((server.to_owned(), name)), ..stage }
    }

    async fn on(url: &str, setup: Setup, folder: TempDir) -> Self {
        let view = Arc::new(Fake::new(None));
        let clock = Arc::clone(&view);
        let now = move || Timestamp::new(clock.now_ms().unsigned_abs() * 1_000_000).unwrap();
        let records = Arc::new(Records::open(RecordsUrl::parse(url).unwrap(), now).await.unwrap());
        let limits = HasherLimits { parallel: NonZeroUsize::MIN, waiting: setup.hashes_waiting };
        let welcome = SignupTerms {
            is_open: setup.is_open,
            tier: Word::new("developer").unwrap(),
            cap: Micros::new(500_000_000).unwrap(),
            credit: Micros::new(setup.credit).unwrap(),
        };
        let secret = Secret::from_text(SECRET).unwrap();
        let hasher = PasswordHasher::new(limits).unwrap();
        let accounts = Arc::new(Accounts::new(Arc::clone(&records), &secret, hasher, welcome));
        let mut tiers = Tiers::default();
        if !setup.is_limited {
            tiers.set(ANONYMOUS, Tier { quota: None, ..tiers.get(ANONYMOUS).unwrap().clone() });
        }
        let developer = Tier { quota: None, ..tiers.get("developer").unwrap().clone() };
        tiers.set("developer", developer);
        let keyring = Arc::new(Keyring::default());
        Access::add_configured(&keyring, CONFIGURED, "pro").unwrap();
        let proxies = vec!["127.0.0.0/8".parse().unwrap()];
        let access = Arc::new(Access::new(tiers, keyring, Some(accounts), proxies));
        let router = api::router(App { view: Arc::clone(&view) as Arc<dyn View>, access }, &[]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { view, records, folder, url, client: Client::new(), database: None }
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: i64) {
        self.view.now.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Asks with these headers; a body is said to be JSON unless they say otherwise.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        let has = |name: &str| headers.iter().any(|(known, _)| *known == name);
        if !has("x-forwarded-for") {
            request = request.header("x-forwarded-for", HERE);
        }
        if let Some(body) = body {
            request = request.body(body.to_vec());
            if !has("content-type") {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, body }
    }

    pub(crate) async fn get(&self, path: &str, credential: &str) -> Answer {
        self.ask(Method::GET, path, &[("authorization", &format!("Bearer {credential}"))], None).await
    }

    pub(crate) async fn delete(&self, path: &str, credential: &str) -> Answer {
        self.ask(Method::DELETE, path, &[("authorization", &format!("Bearer {credential}"))], None).await
    }

    /// Posts without a credential.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, &[], Some(body.to_string().as_bytes())).await
    }

    pub(crate) async fn register(&self, email: &str) -> Answer {
        self.post("/v1/auth/register", &json!({"email": email, "password": PASSWORD})).await
    }

    /// The token of a new user.
    pub(crate) async fn token(&self, email: &str) -> String {
        self.register(email).await.sure(201).text_at("token")
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/v1/auth/login", &json!({"email": email, "password": password})).await
    }

    pub(crate) async fn mint(&self, credential: &str, wish: &Value) -> Answer {
        let bearer = format!("Bearer {credential}");
        let body = wish.to_string();
        self.ask(Method::POST, "/v1/auth/api-keys", &[("authorization", &bearer)], Some(body.as_bytes())).await
    }

    /// A new key with these scopes.
    pub(crate) async fn key(&self, credential: &str, scopes: &[&str]) -> (u64, String) {
        let minted = self.mint(credential, &json!({"name": "a bot", "scopes": scopes})).await.sure(201);
        (minted.body["key_id"].as_u64().unwrap(), minted.text_at("api_key"))
    }

    /// Leaves nothing on the server.
    async fn strike(self) {
        self.records.close().await;
        if let Some((server, name)) = &self.database {
            execute(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

async fn execute(url: &str, sql: &str) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

/// Runs a test on each database that there is.
pub(crate) async fn on_each_database(test: impl AsyncFn(&Stage)) {
    let stage = Stage::sqlite(Setup::default()).await;
    test(&stage).await;
    stage.strike().await;
    let server = env::var("KANDLE_POSTGRES").ok().filter(|server| !server.is_empty());
    let is_required = env::var("KANDLE_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
    assert!(server.is_some() || !is_required, "KANDLE_POSTGRES must name a PostgreSQL server by its URL");
    let Some(server) = server else { return eprintln!("KANDLE_POSTGRES is not set: PostgreSQL is not tested") };
    let stage = Stage::postgres(&server).await;
    test(&stage).await;
    stage.strike().await;
}
