//! `kandle accounts`: users and what they have.

use std::{io::Read, num::NonZeroUsize};

use anyhow::{Context, bail};
use api::billing::Kai;
use auth::{Email, HasherLimits, Password, PasswordHasher};
use records::{KEYS_PAGE_MAX, RequestName, USERS_PAGE_MAX, User, Word};
use serde_json::json;

use super::{
    cap,
    desk::Desk,
    kai,
    make::{self, UserWish},
};
use crate::{
    cli::{AccountsArgs, AccountsCommand},
    config::AccountsConfig,
};

/// A longer password is none.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// Runs one command.
///
/// # Errors
/// Whatever it fails with.
pub async fn run(args: AccountsArgs) -> anyhow::Result<()> {
    let desk = Desk::open(&args.at).await?;
    let done = command(&desk, args.command).await;
    desk.records.close().await;
    done
}

async fn command(desk: &Desk, command: AccountsCommand) -> anyhow::Result<()> {
    match command {
        AccountsCommand::Create { email, tier, credit, password_stdin } => {
            create(desk, &email, tier.as_deref(), &credit, password_stdin).await
        }
        AccountsCommand::List => list(desk).await,
        AccountsCommand::Show { user } => show(desk, &user).await,
        AccountsCommand::Credit { user, amount, cause } => move_money(desk, &user, &amount, &cause, true).await,
        AccountsCommand::Debit { user, amount, cause } => move_money(desk, &user, &amount, &cause, false).await,
        AccountsCommand::SetTier { user, tier } => {
            let cap = cap_of(&desk.config.accounts, &tier)?;
            let id = desk.user(&user).await?.id;
            say_user(desk, &desk.records.users().set_tier(id, &Word::new(tier)?, cap).await?)
        }
        AccountsCommand::Disable { user } => disable(desk, &user, true).await,
        AccountsCommand::Enable { user } => disable(desk, &user, false).await,
    }
}

async fn create(
    desk: &Desk,
    email: &str,
    tier: Option<&str>,
    credit: &str,
    password_stdin: bool,
) -> anyhow::Result<()> {
    let email = Email::parse(email)?;
    let tier = tier.unwrap_or(&desk.config.accounts.tier);
    let password = if password_stdin { Some(password(&email).await?) } else { None };
    let cap = cap_of(&desk.config.accounts, tier)?;
    let wish = UserWish { email: &email, password, tier, cap, credit: kai::parse(credit)? };
    let user = make::user(&desk.records, wish, desk.now()).await?;
    say_user(desk, &user)
}

/// The hash of the password on standard input.
async fn password(email: &Email) -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).context("no password can be read")?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    let password = Password::new(text).context("the password is too long")?;
    let hasher = PasswordHasher::new(HasherLimits { parallel: NonZeroUsize::MIN, waiting: 1 })?;
    Ok(hasher.hash(password, email).await?)
}

async fn list(desk: &Desk) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = desk.records.users().page(after, USERS_PAGE_MAX).await?;
        page.iter().try_for_each(|user| say_user(desk, user))?;
        let Some(last) = page.last().filter(|_| page.len() == USERS_PAGE_MAX) else { return Ok(()) };
        after = Some(last.id);
    }
}

async fn show(desk: &Desk, name: &str) -> anyhow::Result<()> {
    let user = desk.user(name).await?;
    say_user(desk, &user)?;
    let funds = desk.records.users().funds(user.id).await?;
    let window = desk.records.usage().window(user.id).await?;
    let keys = desk.records.keys().of_user(user.id, None, KEYS_PAGE_MAX).await?;
    let live = keys.iter().filter(|key| key.revoked.is_none()).count();
    let [available, held, owed] = [funds.available, funds.held, funds.debt].map(Kai::from);
    let used = Kai::from(window.used);
    desk.say(
        &format!(
            "  balance {available} KAI, held {held}, owed {owed}\n  spent in 30 days {used} KAI\n  keys {live}, revoked {}",
            keys.len() - live
        ),
        &json!({
            "user_id": user.id.0,
            "balance_micros": funds.available.get(),
            "held_micros": funds.held.get(),
            "owed_micros": funds.debt.get(),
            "used_micros": window.used.get(),
            "keys": live,
        }),
    )
}

async fn move_money(desk: &Desk, name: &str, amount: &str, cause: &str, is_gift: bool) -> anyhow::Result<()> {
    let (user, amount) = (desk.user(name).await?.id, kai::parse(amount)?);
    let cause = RequestName::new(cause).context("the cause")?;
    let gifts = desk.records.gifts();
    let is_new = if is_gift {
        gifts.credit(user, amount, &cause, None).await?
    } else {
        gifts.debit(user, amount, &cause, None).await?
    };
    let funds = desk.records.users().funds(user).await?;
    let balance = Kai::from(funds.available);
    let what = if is_new { "done" } else { "this cause had its effect before: nothing was moved" };
    desk.say(
        &format!("{what}; balance {balance} KAI"),
        &json!({"user_id": user.0, "moved": is_new, "balance_micros": funds.available.get()}),
    )
}

async fn disable(desk: &Desk, name: &str, is_disabled: bool) -> anyhow::Result<()> {
    let user = desk.user(name).await?.id;
    say_user(desk, &desk.records.users().set_disabled(user, is_disabled).await?)
}

fn say_user(desk: &Desk, user: &User) -> anyhow::Result<()> {
    let User { id, email, tier, disabled, .. } = user;
    let state = if disabled.is_some() { "  disabled" } else { "" };
    desk.say(
        &format!("{:>6}  {email}  {tier}{state}", id.0),
        &json!({"user_id": id.0, "email": email.as_str(), "tier": tier.as_str(), "disabled": disabled.is_some()}),
    )
}

fn cap_of(config: &AccountsConfig, tier: &str) -> anyhow::Result<ledger::Micros> {
    let Some(known) = config.tiers.get(tier) else {
        bail!("there is no tier {tier:?}; known: {}", config.tiers.names().collect::<Vec<_>>().join(", "));
    };
    Ok(cap(known.cap_micros))
}
