//! Where the tests about money play: a database, a clock that is set, servers on it, users with keys.

use std::{
    env,
    num::NonZeroUsize,
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use api::{Access, Accounts, App, Follower, SignupTerms, View, billing::Reconciler, tiers::Tiers};
use auth::{HasherLimits, Keyring, PasswordHasher, Secret};
use hmac::{Hmac, Mac};
use ledger::{Micros, Timestamp};
use rand::rngs::OsRng;
use records::{
    Attempt, KeyId, Name, NewKey, NewUser, Payer, Records, RecordsUrl, RequestName, Scope, Text, UserId, Word,
};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use sha2::Sha256;
use sqlx::{AnyConnection, Connection, Executor};
use tempfile::TempDir;

use crate::stage::Fake;

pub(crate) const KAI: u64 = 1_000_000;

/// An empty database and its servers; all of it goes when this is struck.
pub(crate) struct Desk {
    database: String,
    pub(crate) view: Arc<Fake>,
    secret: String,
    server: Option<(String, String)>,
    folder: Option<TempDir>,
}

/// A server on the database.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) records: Arc<Records>,
    pub(crate) accounts: Arc<Accounts>,
    keyring: Arc<Keyring>,
    client: Client,
    task: tokio::task::JoinHandle<()>,
}

/// A user, and a key with which the user asks.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) user: UserId,
    pub(crate) key: KeyId,
    pub(crate) text: String,
    pub(crate) has_cap: bool,
}

impl Desk {
    fn new(database: String) -> Self {
        let secret = (0..64).map(|at| char::from_digit(at % 16, 16).unwrap()).collect();
        let view = Fake {
            now: AtomicI64::new(real_seconds() * 1000),
            store: None,
            running: Mutex::default(),
            ring: Mutex::default(),
            status: Mutex::default(),
        };
        Self { database, view: Arc::new(view), secret, server: None, folder: None }
    }

    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("records.db").display());
        Self { folder: Some(folder), ..Self::new(database) }
    }

    async fn postgres(server: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("a{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        execute(server, &format!("CREATE DATABASE {name}")).await;
        let (place, _) = server.rsplit_once('/').unwrap();
        Self { server: Some((server.to_owned(), name.clone())), ..Self::new(format!("{place}/{name}")) }
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: i64) {
        self.view.now.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        now(&self.view)
    }

    /// Starts a server.
    pub(crate) async fn open(&self) -> Server {
        self.open_with(|accounts| accounts).await
    }

    /// Starts a server with what else its accounts need.
    pub(crate) async fn open_with(&self, with: impl FnOnce(Accounts) -> Accounts) -> Server {
        let view = Arc::clone(&self.view);
        let records = Records::open(RecordsUrl::parse(&self.database).unwrap(), move || now(&view)).await.unwrap();
        let records = Arc::new(records);
        let one = NonZeroUsize::MIN;
        let hasher = PasswordHasher::new(HasherLimits { parallel: one, waiting: 8 }).unwrap();
        let tier = Word::new("developer").unwrap();
        let welcome = SignupTerms { is_open: true, tier, cap: micros(500 * KAI), credit: Micros::ZERO };
        let secret = Secret::from_text(&self.secret).unwrap();
        let accounts = Arc::new(with(Accounts::new(Arc::clone(&records), &secret, hasher, welcome)));
        let mut tiers = Tiers::default();
        let open = api::tiers::Tier { quota: None, connections: None, runs: None, cap_micros: None };
        // These tests ask more often than a tier allows.
        ["anonymous", "developer"].iter().for_each(|name| tiers.set(name, open.clone()));
        let keyring = Arc::new(Keyring::default());
        let access = Access::new(tiers, Arc::clone(&keyring), Some(Arc::clone(&accounts)), Vec::new());
        let app = App { view: Arc::clone(&self.view) as Arc<dyn View>, access: Arc::new(access) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = api::router(app, &[]);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client = Client::builder().no_proxy().build().unwrap();
        let server = Server { url, records, accounts, keyring, client, task };
        server.follow().await;
        server
    }

    /// Every byte of the database, if it is a file.
    pub(crate) fn stored(&self) -> Option<Vec<u8>> {
        let folder = self.folder.as_ref()?;
        let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        Some(files.flat_map(|path| std::fs::read(path).unwrap()).collect())
    }

    /// Leaves nothing on a database server.
    async fn strike(self) {
        if let Some((server, name)) = &self.server {
            execute(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

impl Server {
    /// Puts the keys of the database on this server's keyring.
    pub(crate) async fn follow(&self) {
        Follower::load(self.records.keys(), Arc::clone(&self.keyring)).await.unwrap();
    }

    /// Makes a user with credit, and a key.
    pub(crate) async fn holder(&self, email: &str, cap: u64, credit: u64, now: Timestamp) -> Holder {
        let user = NewUser {
            id: self.records.users().next_id().await.unwrap(),
            email: Text::new(email).unwrap(),
            username: Text::new("ada").unwrap(),
            password: None,
            tier: Word::new("developer").unwrap(),
            cap: if cap == 0 { records::CAP_MAX } else { micros(cap) },
            signup_credit: micros(credit),
            created: now,
        };
        let user = self.records.users().create(user, None).await.unwrap().id;
        self.key(user, Scope::Write, None, now).await
    }

    /// Makes a key.
    pub(crate) async fn key(&self, user: UserId, scope: Scope, cap: Option<u64>, now: Timestamp) -> Holder {
        let text = auth::ApiKey::generate(&mut OsRng).unwrap();
        let new = NewKey {
            id: self.records.keys().next_id().await.unwrap(),
            user,
            hash: text.hash().0,
            prefix: Text::new(text.prefix()).unwrap(),
            name: Text::new("my-first-bot").unwrap(),
            scope,
            cap: cap.map(micros),
            cidrs: Vec::new(),
            created: now,
            expires: None,
        };
        let key = self.records.keys().create(new, None).await.unwrap().id;
        self.follow().await;
        Holder { user, key, text: text.reveal().to_owned(), has_cap: cap.is_some() }
    }

    /// Holds, settles and writes the row of one attempt, as a route that costs does.
    pub(crate) async fn charge(&self, holder: &Holder, request: &str, model: &str, cost: u64) {
        let payer = Payer { user: holder.user, key: Some(holder.key), has_key_cap: holder.has_cap };
        let charges = self.records.charges();
        let hold = charges.hold(payer, RequestName::new(request).unwrap(), micros(2 * cost), 60, None).await.unwrap();
        charges.settle(&hold, micros(cost), attempt(model), None).await.unwrap();
    }

    pub(crate) fn get(&self, holder: &Holder, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(&holder.text)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    pub(crate) fn post_as(&self, holder: &Holder, path: &str, body: &Value) -> RequestBuilder {
        self.post(path).bearer_auth(&holder.text).json(body)
    }

    pub(crate) fn get_as_nobody(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    /// Sends a webhook of our own making.
    pub(crate) async fn post_signed(&self, secret: &str, event: &Value, now: Timestamp) -> Response {
        let (body, signed) = (event.to_string(), now.nanos() / 1_000_000_000);
        let mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).unwrap();
        let mac = mac.chain_update(format!("{signed}.{body}")).finalize().into_bytes();
        let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let request =
            self.post("/v1/billing/stripe/webhook").header("stripe-signature", format!("t={signed},v1={mac}"));
        request.body(body).send().await.unwrap()
    }

    /// One pass of a reconciler that has just begun.
    pub(crate) async fn reconcile(&self, now: Timestamp) {
        self.reconciler().pass(now).await;
    }

    pub(crate) fn reconciler(&self) -> Reconciler {
        Reconciler::new(Arc::clone(&self.accounts))
    }

    /// The answer of a route that must answer.
    pub(crate) async fn json(&self, holder: &Holder, path: &str) -> Value {
        let (status, body) = told(self.get(holder, path).send().await.unwrap()).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Verifies the journal to its end.
    pub(crate) async fn verify(&self) {
        let head = self.records.ledger().head().await.unwrap();
        self.records.ledger().verify(Some(&head)).await.unwrap();
    }

    /// Ends the server, having verified the journal.
    pub(crate) async fn close(self) {
        self.accounts.close().await;
        self.verify().await;
        self.task.abort();
        self.records.close().await;
    }
}

/// Status and JSON of an answer.
pub(crate) async fn told(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
}

/// Runs a test on each database that there is.
pub(crate) async fn on_each_database(test: impl AsyncFn(&Desk)) {
    let desk = Desk::sqlite();
    test(&desk).await;
    desk.strike().await;
    let server = env::var("KANDLE_POSTGRES").ok().filter(|server| !server.is_empty());
    let is_required = env::var("KANDLE_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
    assert!(server.is_some() || !is_required, "KANDLE_POSTGRES must name a PostgreSQL server by its URL");
    let Some(server) = server else { return eprintln!("KANDLE_POSTGRES is not set: PostgreSQL is not tested") };
    let desk = Desk::postgres(&server).await;
    test(&desk).await;
    desk.strike().await;
}

pub(crate) fn micros(micros: u64) -> Micros {
    Micros::new(micros).unwrap()
}

pub(crate) fn attempt(model: &str) -> Attempt {
    Attempt {
        number: 1,
        endpoint: Name::new("/v1/chat/completions").unwrap(),
        provider: Word::new("local").unwrap(),
        model: Name::new(model).unwrap(),
        upstream_model: Name::new("SmolLM2-135M-Instruct").unwrap(),
        tokens_in: 18,
        tokens_cached: 4,
        tokens_out: 14,
        tokens_reasoning: 3,
        latency_ms: 120,
        first_token_ms: Some(30),
        status: Word::new("ok").unwrap(),
        source: Word::new("upstream").unwrap(),
        raw: None,
    }
}

fn now(view: &Fake) -> Timestamp {
    Timestamp::new(view.now.load(Ordering::Relaxed).unsigned_abs() * 1_000_000).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the fake of Stripe has the real time, and so must these tests at first")]
fn real_seconds() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

async fn execute(url: &str, sql: &str) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}
