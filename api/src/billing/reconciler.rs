//! Finds what no webhook told, because this server was down or the network was: Stripe is asked for its events since the last
//! time, and for the checkouts that nobody has heard of. All that it does may be done twice, by several servers at once.

use std::{sync::Arc, time::Duration};

use ledger::Timestamp;
use records::{Checkout, CheckoutState, Conflict, Payments};
use stripe::{Event, EventsQuery, StripeError, TYPES};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    cards::{Cards, is_final},
    fulfilment::{Effect, Fulfilment, FulfilmentError},
};
use crate::accounts::Accounts;

const EVERY: Duration = Duration::from_secs(60);
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// An event may be listed later than its second says, and clocks differ.
const OVERLAP_SECONDS: u64 = 3600;
/// Pages of events of one pass: Stripe keeps events for 30 days.
const PAGES_MAX: usize = 10_000;
/// Checkouts of one pass, which Stripe is asked about one by one.
const CHECKOUTS_MAX: usize = 100;
/// Whoever has just begun is still waiting for the answer.
const UNHEARD_SECONDS: u64 = 60;
/// Stripe knows the names of requests for a day at least. After that, asking again would make a second page.
const NAMED_SECONDS: u64 = 23 * 3600;
/// Longer than Stripe tells of an event.
const KNOWN_SECONDS: u64 = 40 * 24 * 3600;

/// See the module.
pub struct Reconciler {
    accounts: Arc<Accounts>,
    /// The last checkout of the pass before, unless that came to the end.
    after: u64,
}

impl Reconciler {
    /// A reconciler of accounts; it does nothing where no cards are taken.
    #[must_use]
    pub fn new(accounts: Arc<Accounts>) -> Self {
        Self { accounts, after: 0 }
    }

    /// Looks at once and then each minute, until `stop` turns true. `now` says the time.
    pub async fn run(mut self, now: impl Fn() -> Timestamp, mut stop: watch::Receiver<bool>) {
        let mut passes = interval(EVERY);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = passes.tick() => {}
            }
            // What a pass has not come to, the next one does.
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.pass(now()) => {}
            }
        }
    }

    /// Looks once.
    pub async fn pass(&mut self, now: Timestamp) {
        let accounts = Arc::clone(&self.accounts);
        let Ok(cards) = accounts.cards() else { return };
        let look = Look {
            fulfilment: Fulfilment::new(&accounts.records, cards),
            payments: accounts.records.payments(),
            accounts: &accounts,
            cards,
            now,
        };
        if let Err(error) = look.events().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the events of Stripe cannot be read to their end"
            );
        }
        if let Err(error) = look.checkouts(&mut self.after).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "open checkouts cannot be asked about");
        }
        if let Err(error) = look.payments.sweep(ago(now, KNOWN_SECONDS)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "forgetting events");
        }
    }
}

/// One pass.
struct Look<'a> {
    fulfilment: Fulfilment<'a>,
    payments: Payments,
    accounts: &'a Accounts,
    cards: &'a Cards,
    now: Timestamp,
}

impl Look<'_> {
    /// What happened since the last pass that came to its end; at first all that Stripe knows.
    async fn events(&self) -> Result<(), FulfilmentError> {
        let listed = self.payments.listed_until().await?;
        let created_from = listed.checked_sub(OVERLAP_SECONDS);
        let query = EventsQuery { cursor: None, created_from, types: &TYPES, limit: 0 };
        let mut page = self.cards.client.events(&query).await?;
        for _ in 0..PAGES_MAX {
            for event in &page.events {
                match event {
                    Ok(event) => self.event(event).await?,
                    Err(error) => {
                        tracing::error!(error = error as &dyn std::error::Error, "an event of Stripe cannot be read");
                    }
                }
            }
            if !page.has_more {
                return Ok(self.payments.set_listed_until(self.now.nanos() / NANOS_PER_SECOND).await?);
            }
            page = self.cards.client.events(&EventsQuery { cursor: page.older(), ..query }).await?;
        }
        tracing::error!(pages = PAGES_MAX, "Stripe has more events than one pass reads");
        Ok(())
    }

    async fn event(&self, event: &Event) -> Result<(), FulfilmentError> {
        let (id, kind) = (event.id.as_str(), event.kind.name());
        match self.fulfilment.event(event).await {
            Ok(Effect::Done) => tracing::info!(event = id, kind, "no webhook had told of this"),
            Ok(_) => {}
            Err(error) if error.is_terminal() => {
                let cause = &error as &dyn std::error::Error;
                tracing::error!(error = cause, event = id, kind, "an event of Stripe that somebody must look at");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Checkouts that have not ended, a number of them each time.
    async fn checkouts(&self, after: &mut u64) -> Result<(), FulfilmentError> {
        let unheard = ago(self.now, UNHEARD_SECONDS);
        let unfinished = self.payments.unfinished(unheard, *after, CHECKOUTS_MAX).await?;
        *after = unfinished.last().filter(|_| unfinished.len() == CHECKOUTS_MAX).map_or(0, |last| last.id);
        for checkout in unfinished {
            match self.checkout(&checkout).await {
                Err(FulfilmentError::Stripe(error)) if is_final(&error) => {
                    let cause = &error as &dyn std::error::Error;
                    tracing::warn!(error = cause, checkout = checkout.id, "Stripe does not know a checkout");
                }
                Err(error) if error.is_terminal() => {
                    let cause = &error as &dyn std::error::Error;
                    tracing::error!(error = cause, checkout = checkout.id, "a checkout that somebody must look at");
                }
                // Stripe or the records are away: the others wait as well.
                looked => looked?,
            }
        }
        Ok(())
    }

    async fn checkout(&self, checkout: &Checkout) -> Result<(), FulfilmentError> {
        if checkout.state != CheckoutState::Begun {
            if self.fulfilment.ask(checkout).await? == Effect::Done {
                tracing::info!(checkout = checkout.id, "no webhook had told of this");
            }
            return Ok(());
        }
        // Its page, if there ever was one, was told to nobody.
        if checkout.created < ago(self.now, NAMED_SECONDS) {
            return Ok(self.payments.abandon(checkout.id).await?);
        }
        let user = self.accounts.records.users().by_id(checkout.user).await?;
        let email = user.ok_or(Conflict::UnknownUser).map_err(records::RecordsError::from)?.email;
        match self.cards.open(checkout, email.as_str()).await {
            Ok(page) => Ok(self.payments.opened(checkout.id, &page.session, &page.url, None).await?),
            Err(error) if is_final(&error) => self.give_up(checkout, &error).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn give_up(&self, checkout: &Checkout, error: &StripeError) -> Result<(), FulfilmentError> {
        tracing::warn!(error = error as &dyn std::error::Error, checkout = checkout.id, "Stripe refuses a checkout");
        Ok(self.payments.abandon(checkout.id).await?)
    }
}

fn ago(now: Timestamp, seconds: u64) -> Timestamp {
    let nanos = now.nanos().saturating_sub(seconds.saturating_mul(NANOS_PER_SECOND));
    Timestamp::new(nanos).unwrap_or(Timestamp::ZERO)
}
