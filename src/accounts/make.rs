//! Users and keys made by an operator, on the same database as the server's.

use anyhow::{Context, ensure};
use auth::{AllowList, ApiKey, Email};
use ledger::{Micros, Timestamp};
use rand::rngs::OsRng;
use records::{KeyId, NewKey, NewUser, PasswordHash, Records, Scope, Text, User, UserId, Word};

/// What a user is made of.
pub struct UserWish<'a> {
    /// The address.
    pub email: &'a Email,
    /// The hash of a password; without one, only keys let the user in.
    pub password: Option<String>,
    /// The tier.
    pub tier: &'a str,
    /// What the tier may spend in 30 days.
    pub cap: Micros,
    /// What is given at once.
    pub credit: Micros,
}

/// What a key is made of.
pub struct KeyWish<'a> {
    /// Whose it is.
    pub user: UserId,
    /// What it is called.
    pub name: &'a str,
    /// What it allows.
    pub scope: Scope,
    /// What it may ever spend.
    pub cap: Option<Micros>,
    /// Where it may come from.
    pub allowed: &'a AllowList,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// Makes a user.
///
/// # Errors
/// If there is one with the address, or the database fails.
pub async fn user(records: &Records, wish: UserWish<'_>, now: Timestamp) -> anyhow::Result<User> {
    let users = records.users();
    let UserWish { email, password, tier, cap, credit } = wish;
    let new = NewUser {
        id: users.next_id().await?,
        email: Text::new(email.as_str())?,
        username: Text::cut(email.local_part()),
        password: password.map(Text::new).transpose()?.map(PasswordHash),
        tier: Word::new(tier)?,
        cap,
        signup_credit: credit,
        created: now,
    };
    users.create(new, None).await.with_context(|| format!("the user {} is not made", email.as_str()))
}

/// Makes a key: its text, which is nowhere else, and its number.
///
/// # Errors
/// If there is no such user, the user has too many, or the database fails.
pub async fn key(records: &Records, wish: KeyWish<'_>, now: Timestamp) -> anyhow::Result<(ApiKey, KeyId)> {
    let text = ApiKey::generate(&mut OsRng)?;
    let keys = records.keys();
    let KeyWish { user, name, scope, cap, allowed, expires } = wish;
    ensure!(expires.is_none_or(|end| end > now), "the key would have ended already");
    let new = NewKey {
        id: keys.next_id().await?,
        user,
        hash: text.hash().0,
        prefix: Text::new(text.prefix())?,
        name: Text::new(name).context("the name of the key")?,
        scope,
        cap,
        cidrs: allowed.entries().map(Text::new).collect::<Result<_, _>>()?,
        created: now,
        expires,
    };
    let key = keys.create(new, None).await.context("the key is not made")?;
    Ok((text, key.id))
}
