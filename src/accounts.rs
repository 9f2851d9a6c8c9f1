//! The accounts of a running server: its database, its secret, and the task that follows changes of keys.

pub mod books;
pub mod desk;
pub mod kai;
pub mod keys;
pub mod make;
pub mod users;

use std::{fs, num::NonZeroUsize, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, thread};

use anyhow::Context;
use api::{Accounts, Follower, Welcome};
use auth::{HasherLimits, Keyring, PasswordHasher, Secret};
use node::Clock;
use records::{Records, RecordsUrl, Word};
use tokio::{sync::watch, task::JoinHandle};

use crate::config::AccountsConfig;

/// Logins that wait for a processor.
const HASHES_WAITING_MAX: usize = 64;

/// See the module.
pub struct Running {
    /// What the routes need.
    pub accounts: Arc<Accounts>,
    records: Arc<Records>,
    stop: watch::Sender<bool>,
    follower: JoinHandle<()>,
}

impl Running {
    /// Opens the database at `url`, puts its keys on `keyring` and goes on following it.
    ///
    /// # Errors
    /// The database or the secret cannot be used.
    pub async fn open(
        config: &AccountsConfig,
        url: &RecordsUrl,
        keyring: &Arc<Keyring>,
        clock: &Arc<Clock>,
    ) -> anyhow::Result<Self> {
        let records = Arc::new(open(url, clock).await?);
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
        let welcome = Welcome {
            is_open: config.is_open,
            tier: Word::new(config.tier.as_str())?,
            cap: cap(config.tiers.get(&config.tier).and_then(|tier| tier.cap_micros)),
            credit: ledger::Micros::new(config.signup_credit_micros).context("signup_credit_micros is too large")?,
        };
        let follower = Follower::load(records.keys(), Arc::clone(keyring)).await.context("the keys cannot be read")?;
        let (stop, stopped) = watch::channel(false);
        let follower = tokio::spawn(follower.run(stopped));
        let accounts = Arc::new(Accounts::new(Arc::clone(&records), &secret, hasher, welcome));
        Ok(Self { accounts, records, stop, follower })
    }

    /// Answers what waits and lets go of the database.
    pub async fn close(self) {
        let _ = self.stop.send(true);
        if let Err(error) = self.follower.await {
            tracing::error!(%error, "the task that follows the keys failed");
        }
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
    let clock = Arc::clone(clock);
    let now = move || ledger::Timestamp::new(clock.now().0.unsigned_abs()).unwrap_or(ledger::Timestamp::ZERO);
    Records::open(url.clone(), now).await.context("accounts cannot be opened; [records] says where they are")
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
