//! What an operator gives and takes, each by a cause that happens once.

use ledger::{Event, Micros};

use crate::{
    access::Access,
    at_most,
    chart::{self, AMOUNT_MAX, Purpose, UserId},
    error::{Conflict, RecordsError},
    kept::{self, Kept},
    text::RequestName,
};

/// Gifts and withdrawals. Cheap to clone.
#[derive(Clone)]
pub struct Gifts {
    pub(crate) access: Access,
}

impl Gifts {
    /// Gives a user `amount`, of which what the user owes is paid first. The same cause again gives nothing more; whether it
    /// was given now is returned.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], [`Conflict::Different`] if the cause was another amount or user, [`Conflict::Kept`], or if
    /// it cannot be written.
    pub async fn credit(
        &self,
        user: UserId,
        amount: Micros,
        cause: &RequestName,
        kept: Option<Kept>,
    ) -> Result<bool, RecordsError> {
        let id = format!("gift:{cause}");
        let gift = chart::post(&id, chart::GRANTS, chart::balance(user), amount, Purpose::Gift);
        let chain = vec![Event::Transfer(gift), chart::pay_debt(&format!("{id}:debt"), user, amount)];
        self.apply(amount, chain, kept, Conflict::UnknownUser).await
    }

    /// Takes `amount` from a user.
    ///
    /// # Errors
    /// As [`Gifts::credit`], and [`Conflict::InsufficientFunds`] if the user has less.
    pub async fn debit(
        &self,
        user: UserId,
        amount: Micros,
        cause: &RequestName,
        kept: Option<Kept>,
    ) -> Result<bool, RecordsError> {
        let id = format!("withdrawal:{cause}");
        let taken = chart::post(&id, chart::balance(user), chart::GRANTS, amount, Purpose::Withdrawal);
        self.apply(amount, vec![Event::Transfer(taken)], kept, Conflict::InsufficientFunds).await
    }

    async fn apply(
        &self,
        amount: Micros,
        chain: Vec<Event>,
        kept: Option<Kept>,
        spent: Conflict,
    ) -> Result<bool, RecordsError> {
        at_most(AMOUNT_MAX, amount)?;
        self.access.platform().await?;
        let writes = kept::write(kept.as_ref())?.into_iter().collect();
        let outcomes = self.access.change(writes, chain).await?;
        chart::is_done_now(&outcomes, spent)
    }
}
