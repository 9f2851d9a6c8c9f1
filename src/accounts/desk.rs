//! What an operator works at: the database of accounts, open beside whatever else uses it, and a way to print.

use std::{io::Write, sync::Arc};

use anyhow::Context;
use ledger::Timestamp;
use node::Clock;
use records::{Email, Records, User, UserId};
use serde_json::Value;

use crate::{cli::AccountsAt, config::Config, serve};

/// See the module.
pub struct Desk {
    /// The configuration.
    pub config: Config,
    /// The database.
    pub records: Records,
    clock: Arc<Clock>,
    is_json: bool,
}

impl Desk {
    /// Opens the database that the configuration names.
    ///
    /// # Errors
    /// If it names none, or it cannot be used.
    pub async fn open(at: &AccountsAt) -> anyhow::Result<Self> {
        let config = Config::load(at.config.as_deref(), std::env::vars_os().filter_map(serve::text))?;
        let url = config.accounts.records.clone();
        let url = url.context("the configuration keeps no accounts: [records] url is \"none\"")?;
        let clock = Arc::new(Clock::start());
        let records = super::open(&url, &clock).await?;
        Ok(Self { config, records, clock, is_json: at.json })
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::new(self.clock.now().0.unsigned_abs()).unwrap_or_default()
    }

    /// The user of a number or an e-mail address.
    ///
    /// # Errors
    /// If there is none.
    pub async fn user(&self, name: &str) -> anyhow::Result<User> {
        let users = self.records.users();
        let found = match (name.parse(), Email::new(name)) {
            (Ok(number), _) => users.by_id(UserId(number)).await?,
            (Err(_), Ok(email)) => users.by_email(email.as_str()).await?.map(|login| login.user),
            _ => None,
        };
        found.with_context(|| format!("there is no user {name:?}; `kandle accounts list` shows all"))
    }

    /// Prints a line: for people, or the same as JSON for scripts.
    ///
    /// # Errors
    /// If standard output takes no more.
    pub fn say(&self, text: &str, json: &Value) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.is_json {
            writeln!(out, "{json}")?
        } else {
            writeln!(out, "{text}")?
        }
        Ok(())
    }
}
