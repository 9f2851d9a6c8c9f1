//! Balances as this process has last written them, for whoever wants a recent one without asking the database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use ledger::{AccountId, AccountState, Balance};

/// Accounts that are remembered; more, and all are forgotten.
const ACCOUNTS_MAX: usize = 100_000;

/// Cheap to clone. Another process may have changed them since.
#[derive(Clone, Default)]
pub(crate) struct Latest(Arc<Mutex<HashMap<AccountId, Balance>>>);

impl Latest {
    pub(crate) fn tell(&self, accounts: &[AccountState]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + accounts.len() > ACCOUNTS_MAX {
            known.clear();
        }
        known.extend(accounts.iter().map(|state| (state.account.id, state.balance)));
    }

    pub(crate) fn of(&self, account: AccountId) -> Option<Balance> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&account).copied()
    }
}
