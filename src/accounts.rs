//! The accounts of a running server: its database, its secret, and the task that follows changes of keys.

pub mod books;
pub mod desk;
pub mod kai;
pub mod keys;
pub mod make;
pub mod users;

use std::{fs, num::NonZeroUsize, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, thread, time::Duration};

use anyhow::Context;
use api::{
    Accounts, Chat, Follower, SignupTerms,
    billing::{Cards, Reconciler},
};
use auth::{HasherLimits, Keyring, PasswordHasher, Secret};
use node::Clock;
use records::{Records, RecordsUrl, Word};
use stripe::{Endpoint, RetryPolicy, StripeClient, TOLERANCE_SECONDS};
use tokio::{sync::watch, task::JoinHandle};

use crate::config::{AccountsConfig, SecretText, StripeConfig};

/// Logins that wait for a processor.
const HASHES_WAITING_MAX: usize = 64;
/// How often Stripe is asked and for how long: all attempts together end before a request's own time does.
const STRIPE_RETRY: RetryPolicy =
    RetryPolicy { timeout: Duration::from_secs(6), attempts: 3, first_wait: Duration::from_millis(500) };

/// See the module.
pub struct Running {
    /// What the routes need.
    pub accounts: Arc<Accounts>,
    records: Arc<Records>,
    stop: watch::Sender<bool>,
    follower: JoinHandle<()>,
    reconciler: JoinHandle<()>,
}

impl Running {
    /// Opens the database at `url`, puts its keys on `keyring` and goes on following it, takes cards where `stripe`
    /// says how, and answers with the models of `chat`.
    ///
    /// # Errors
    /// The database, the secret or what is said of Stripe cannot be used.
    pub async fn open(
        config: AccountsConfig,
        stripe: Option<StripeConfig>,
        chat: Option<Chat>,
        url: RecordsUrl,
        keyring: Arc<Keyring>,
        clock: Arc<Clock>,
    ) -> anyhow::Result<Self> {
        let records = Arc::new(open(&url, &clock).await?);
        let secret = secret(&config.secret_file)?;
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let parallel = NonZeroUsize::new(cores.get() / 2).unwrap_or(NonZeroUsize::MIN);
        let hasher = PasswordHasher::new(HasherLimits { parallel, waiting: HASHES_WAITING_MAX })?;
        for name in config.tiers.names() {
            if let Some(tier) = config.tiers.get(name) {
                let cap = cap(tier.cap_micros);
                records.users().set_tier_cap(&Word::new(name)?, cap).await.context("the caps of the tiers")?;
            }
        }
        let signup = SignupTerms {
            is_open: config.is_open,
            tier: Word::new(config.tier.as_str())?,
            cap: cap(config.tiers.get(&config.tier).and_then(|tier| tier.cap_micros)),
            credit: ledger::Micros::new(config.signup_credit_micros).context("signup_credit_micros is too large")?,
        };
        let follower = Follower::load(records.keys(), keyring).await.context("the keys cannot be read")?;
        let (stop, stopped) = watch::channel(false);
        let follower = tokio::spawn(follower.run(stopped.clone()));
        let accounts = Accounts::new(Arc::clone(&records), &secret, hasher, signup);
        let accounts = match stripe {
            Some(stripe) => accounts.with_cards(cards(&stripe)?),
            None => accounts,
        };
        let accounts = match chat {
            Some(chat) => accounts.with_chat(chat),
            None => accounts,
        };
        let accounts = Arc::new(accounts);
        let reconciler = Reconciler::new(Arc::clone(&accounts));
        let reconciler = tokio::spawn(reconciler.run(now(&clock), stopped));
        Ok(Self { accounts, records, stop, follower, reconciler })
    }

    /// Answers what waits and lets go of the database.
    pub async fn close(self) {
        let _ = self.stop.send(true);
        for (task, what) in [(self.follower, "follows the keys"), (self.reconciler, "asks Stripe")] {
            if let Err(error) = task.await {
                tracing::error!(%error, "the task that {what} failed");
            }
        }
        self.accounts.close().await;
        self.records.close().await;
    }
}

/// Opens a database of accounts.
///
/// # Errors
/// If it cannot be used.
pub async fn open(url: &RecordsUrl, clock: &Arc<Clock>) -> anyhow::Result<Records> {
    if let Some(folder) = url.file().and_then(Path::parent) {
        private_folder(folder)?;
    }
    Records::open(url.clone(), now(clock)).await.context("accounts cannot be opened; [records] says where they are")
}

/// What the clock says, as the ledger counts.
fn now(clock: &Arc<Clock>) -> impl Fn() -> ledger::Timestamp + Send + Sync + use<> {
    let clock = Arc::clone(clock);
    move || ledger::Timestamp::new(clock.now().0.unsigned_abs()).unwrap_or(ledger::Timestamp::ZERO)
}

fn cards(config: &StripeConfig) -> anyhow::Result<Cards> {
    let client = StripeClient::new(&config.api_base, config.secret_key.reveal(), STRIPE_RETRY).context("[stripe]")?;
    let secrets: Vec<&str> = config.webhook_secrets.iter().map(SecretText::reveal).collect();
    let endpoint = if secrets.is_empty() {
        tracing::warn!("[stripe] has no webhook_secret: payments are only found by asking, once a minute");
        None
    } else {
        Some(Endpoint::new(&secrets, TOLERANCE_SECONDS).context("[stripe] webhook_secret is too short or too long")?)
    };
    Ok(Cards { client, endpoint, success_url: config.success_url.clone(), cancel_url: config.cancel_url.clone() })
}

/// The cap of a tier, or as much as there can be.
#[must_use]
pub fn cap(micros: Option<u64>) -> ledger::Micros {
    micros.and_then(ledger::Micros::new).unwrap_or(records::CAP_MAX)
}

fn secret(path: &Path) -> anyhow::Result<Secret> {
    if let Some(folder) = path.parent() {
        private_folder(folder)?;
    }
    Ok(Secret::load_or_create(path)?)
}

/// Makes a folder that only its owner can read, unless it is there.
fn private_folder(folder: &Path) -> anyhow::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))
}
