//! Users: who they are, which tier they have, whether they may come in.

use ledger::{Event, Micros, Timestamp};
use sqlx::any::AnyRow;

use crate::{
    access::{Access, Counter, TRIES_MAX},
    allowance::{self, CAP_MAX},
    at_most, bounded,
    change::Write,
    chart::{self, Purpose, UserId},
    error::{Conflict, RecordsError},
    kept::{self, Kept},
    text::{Email, Name, Text, Word},
};

/// Users of a page.
pub const USERS_PAGE_MAX: usize = 500;

/// A password as its hash says it (PHC text). Has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub Text<512>);

/// What a user is made of.
pub struct NewUser {
    /// From [`Users::next_id`].
    pub id: UserId,
    /// Kept in lower case; no two users have the same.
    pub email: Email,
    /// What the user is called.
    pub username: Name,
    /// `None` for a user who only has keys.
    pub password: Option<PasswordHash>,
    /// A name from the configuration.
    pub tier: Word,
    /// What the tier allows to spend in 30 days.
    pub cap: Micros,
    /// What is given at once.
    pub signup_credit: Micros,
    /// When.
    pub created: Timestamp,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub id: UserId,
    /// In lower case.
    pub email: Email,
    /// What the user is called.
    pub username: Name,
    /// A name from the configuration.
    pub tier: Word,
    /// What may be spent in 30 days.
    pub cap: Micros,
    /// When the user came.
    pub created: Timestamp,
    /// Since when the user may not come in.
    pub disabled: Option<Timestamp>,
    /// The number of the last change.
    pub version: u64,
}

/// A user and what proves it. Has no `Debug`.
#[derive(Clone)]
pub struct Login {
    /// Who.
    pub user: User,
    /// `None` if no password lets this user in.
    pub password: Option<PasswordHash>,
}

/// What a user has and owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Funds {
    /// What can be spent.
    pub available: Micros,
    /// What is held for charges that are not settled.
    pub held: Micros,
    /// What is owed: a later payment pays it first.
    pub debt: Micros,
}

/// The users. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pub(crate) access: Access,
}

pub(crate) const COLUMNS: &str =
    "u.id, u.email, u.username, u.password, u.tier, u.cap, u.created, u.disabled, u.version";

impl Users {
    /// A number for a user who will be made, so that an answer can name it before.
    ///
    /// # Errors
    /// If none can be had.
    pub async fn next_id(&self) -> Result<UserId, RecordsError> {
        self.access.next(Counter::User).await.map(UserId)
    }

    /// Makes a user with accounts, allowance and credit, all or nothing. The same number and address again are the same user.
    ///
    /// # Errors
    /// [`Conflict::EmailTaken`], [`Conflict::Kept`], or if it cannot be written.
    pub async fn create(&self, user: NewUser, kept: Option<Kept>) -> Result<User, RecordsError> {
        at_most(CAP_MAX, user.cap)?;
        at_most(chart::AMOUNT_MAX, user.signup_credit)?;
        self.access.platform().await?;
        let email = Email::new(user.email.as_str().to_lowercase()).unwrap_or(user.email);
        let today = allowance::day(self.access.now());
        let insert = "INSERT INTO users \
            (id, email, username, password, tier, cap, created, aligned, alignments, version) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, (SELECT value FROM counters WHERE name = 'version')) \
            ON CONFLICT (email) DO NOTHING";
        let password = user.password.as_ref().map(|PasswordHash(hash)| hash);
        let insert = Write::new(insert).bind(user.id).bind(&email).bind(&user.username).bind(password);
        let insert = insert.bind(&user.tier).bind(user.cap).bind(user.created).bind(today).or(Conflict::EmailTaken);
        let mut writes = vec![Write::next_version(), insert];
        writes.extend(kept::write(kept.as_ref())?);

        let id = user.id;
        let mut chain = vec![chart::open(chart::balance(id)), chart::open(chart::debt(id))];
        chain.push(chart::open(chart::allowance(id)));
        let gift = |cause: &str, from, to, amount, purpose| {
            let cause = format!("{cause}:{}", id.0);
            (amount > Micros::ZERO).then(|| Event::Transfer(chart::post(&cause, from, to, amount, purpose)))
        };
        chain.extend(gift("allowance", chart::POOL, chart::allowance(id), user.cap, Purpose::Allowance));
        chain.extend(gift("signup", chart::GRANTS, chart::balance(id), user.signup_credit, Purpose::Signup));
        let outcomes = self.access.change(writes, chain).await;
        let made = self.by_id(id).await?;
        match outcomes {
            // Asked again after an answer that did not come.
            Err(RecordsError::Conflict(Conflict::EmailTaken)) => made.filter(|made| made.email == email),
            outcomes => {
                chart::all_done(self.access.database(), &outcomes?)?;
                made
            }
        }
        .ok_or(Conflict::EmailTaken.into())
    }

    /// The user of an e-mail address, in any case, and the password.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn by_email(&self, email: &str) -> Result<Option<Login>, RecordsError> {
        let sql = format!("SELECT {COLUMNS} FROM users u WHERE u.email = $1");
        // What is no text that fits is nobody's address.
        let Ok(email) = Email::new(email.to_lowercase()) else { return Ok(None) };
        let Some(row) = self.access.row(&sql, &[(&email).into()]).await? else { return Ok(None) };
        let password = self.access.fields(&row).maybe_text("password")?.map(PasswordHash);
        Ok(Some(Login { user: read(&self.access, &row)?, password }))
    }

    /// A user.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn by_id(&self, user: UserId) -> Result<Option<User>, RecordsError> {
        let sql = format!("SELECT {COLUMNS} FROM users u WHERE u.id = $1");
        let row = self.access.row(&sql, &[user.into()]).await?;
        row.map(|row| read(&self.access, &row)).transpose()
    }

    /// Users behind number `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`USERS_PAGE_MAX`] are asked for.
    pub async fn page(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>, RecordsError> {
        bounded("users", USERS_PAGE_MAX, limit)?;
        let sql = format!("SELECT {COLUMNS} FROM users u WHERE u.id > $1 ORDER BY u.id LIMIT $2");
        let rows = self.access.rows(&sql, &[after.unwrap_or_default().into(), (limit as u64).into()]).await?;
        rows.iter().map(|row| read(&self.access, row)).collect()
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], or if it cannot be written.
    pub async fn set_password(&self, user: UserId, password: &PasswordHash) -> Result<(), RecordsError> {
        let set = Write::new("UPDATE users SET password = $1 WHERE id = $2");
        self.access.write(vec![set.bind(&password.0).bind(user).or(Conflict::UnknownUser)]).await
    }

    /// Gives a user another tier, and makes what may be spent in 30 days what its cap says: at once, but what is held stays
    /// held.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], or if it cannot be written.
    pub async fn set_tier(&self, user: UserId, tier: &Word, cap: Micros) -> Result<User, RecordsError> {
        at_most(CAP_MAX, cap)?;
        for _ in 0..TRIES_MAX {
            let today = allowance::day(self.access.now());
            let standing = allowance::standing(&self.access, user, today).await?;
            let set = "UPDATE users SET tier = $1, cap = $2, aligned = $3, alignments = alignments + 1, \
                       version = (SELECT value FROM counters WHERE name = 'version') \
                       WHERE id = $4 AND alignments = $5";
            let set = Write::new(set).bind(tier).bind(cap).bind(today).bind(user).bind(standing.alignments);
            let writes = vec![Write::next_version(), set.or(Conflict::Changed)];
            match self.access.change(writes, standing.alignment(user, cap)).await {
                Err(RecordsError::Conflict(Conflict::Changed)) => {}
                outcomes => {
                    chart::all_done(self.access.database(), &outcomes?)?;
                    return self.by_id(user).await?.ok_or(RecordsError::Conflict(Conflict::UnknownUser));
                }
            }
        }
        Err(RecordsError::Contended { database: self.access.database().name() })
    }

    /// Makes `cap` the cap of all users of a tier, as the configuration now says it. Each gets it with the next hold, in this
    /// process and in those that begin later.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn set_tier_cap(&self, tier: &Word, cap: Micros) -> Result<(), RecordsError> {
        at_most(CAP_MAX, cap)?;
        let set = Write::new("UPDATE users SET cap = $1, aligned = 0 WHERE tier = $2 AND cap <> $1");
        self.access.write(vec![set.bind(cap).bind(tier)]).await?;
        self.access.forget_alignments();
        Ok(())
    }

    /// Keeps a user out, or lets the user in again. Asked again, it changes nothing.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], or if it cannot be written.
    pub async fn set_disabled(&self, user: UserId, is_disabled: bool) -> Result<User, RecordsError> {
        let sql = if is_disabled {
            "UPDATE users SET disabled = $2, version = (SELECT value FROM counters WHERE name = 'version') \
             WHERE id = $1 AND disabled IS NULL"
        } else {
            "UPDATE users SET disabled = NULL, version = (SELECT value FROM counters WHERE name = 'version') \
             WHERE id = $1 AND disabled IS NOT NULL"
        };
        let set = Write::new(sql).bind(user).or(Conflict::Changed);
        let set = if is_disabled { set.bind(self.access.now()) } else { set };
        match self.access.write(vec![Write::next_version(), set]).await {
            Ok(()) | Err(RecordsError::Conflict(Conflict::Changed)) => {}
            Err(error) => return Err(error),
        }
        self.by_id(user).await?.ok_or(RecordsError::Conflict(Conflict::UnknownUser))
    }

    /// What a user has and owes, as it was last written.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], or if it cannot be read.
    pub async fn funds(&self, user: UserId) -> Result<Funds, RecordsError> {
        let ids = [chart::balance(user), chart::debt(user)];
        let mut funds = None;
        for state in self.access.accounts(&ids).await? {
            let Funds { available, held, debt } = funds.get_or_insert_default();
            if state.account.id == chart::balance(user) {
                (*available, *held) = (state.balance.available(), state.balance.debits_pending);
            } else {
                *debt = state.balance.debits_posted.saturating_sub(state.balance.credits_posted);
            }
        }
        funds.ok_or(RecordsError::Conflict(Conflict::UnknownUser))
    }

    /// What a user can spend, as of the last change that this process has made, or else as [`Self::funds`] reads it. Behind a
    /// hold it is at least as new as that, and costs nothing.
    ///
    /// # Errors
    /// As [`Self::funds`].
    pub async fn available_lately(&self, user: UserId) -> Result<Micros, RecordsError> {
        match self.access.latest().of(chart::balance(user)) {
            Some(balance) => Ok(balance.available()),
            None => Ok(self.funds(user).await?.available),
        }
    }
}

pub(crate) fn read(access: &Access, row: &AnyRow) -> Result<User, RecordsError> {
    let fields = access.fields(row);
    Ok(User {
        id: fields.user("id")?,
        email: fields.text("email")?,
        username: fields.text("username")?,
        tier: fields.text("tier")?,
        cap: fields.micros("cap")?,
        created: fields.time("created")?,
        disabled: fields.maybe_time("disabled")?,
        version: fields.number("version")?,
    })
}
