//! API keys: who holds them, what they allow, and which of them changed since somebody last looked.

use std::collections::HashMap;

use ledger::{Event, Micros, Timestamp};
use sqlx::any::AnyRow;

use crate::{
    access::{Access, Counter},
    allowance::CAP_MAX,
    at_most, bounded,
    change::{Value, Write},
    chart::{self, KeyId, Purpose, UserId},
    error::{Conflict, RecordsError},
    kept::{self, Kept},
    text::{Name, Text, Word},
    users::{self, User},
};

/// Keys of a user that are not revoked.
pub const KEYS_MAX: u64 = 100;
/// Address ranges of a key.
pub const CIDRS_MAX: usize = 32;
/// Keys of a page, and changes.
pub const KEYS_PAGE_MAX: usize = 1000;

/// What a key allows, and with it all below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// To look.
    Read = 1,
    /// To do, and to spend.
    Write = 2,
    /// To change who may.
    Admin = 3,
}

/// What a key is made of.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// From [`Keys::next_id`].
    pub id: KeyId,
    /// Whose it is.
    pub user: UserId,
    /// SHA-256 of the whole key, which itself is not stored.
    pub hash: [u8; 32],
    /// Its first letters, for people to tell keys apart.
    pub prefix: Text<16>,
    /// What its user calls it.
    pub name: Name,
    /// What it allows.
    pub scope: Scope,
    /// What it may ever spend.
    pub cap: Option<Micros>,
    /// Where it may come from; anywhere if there are none. At most [`CIDRS_MAX`], without commas.
    pub cidrs: Vec<Text<64>>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The number.
    pub id: KeyId,
    /// Whose it is.
    pub user: UserId,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// Its first letters.
    pub prefix: Text<16>,
    /// What its user calls it.
    pub name: Name,
    /// What it allows.
    pub scope: Scope,
    /// What it may ever spend.
    pub cap: Option<Micros>,
    /// Where it may come from; anywhere if there are none.
    pub cidrs: Vec<Text<64>>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Since when it is not valid any more.
    pub revoked: Option<Timestamp>,
    /// When it was last used, as far as the audit has been written.
    pub last_used: Option<Timestamp>,
    /// The number of the last change.
    pub version: u64,
}

/// A key and what is to be known of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The key.
    pub key: ApiKey,
    /// The user's tier.
    pub tier: Word,
    /// Whether the user may not come in.
    pub is_user_disabled: bool,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// A key was made or revoked.
    Key(Grant),
    /// A user was made, got another tier, was kept out or let in again: this is true for all keys of the user.
    User(User),
}

/// What changed since a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In the order in which it happened.
    pub changed: Vec<Changed>,
    /// The version that these come up to: what to ask for next.
    pub version: u64,
}

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    pub(crate) access: Access,
}

const COLUMNS: &str = "k.id, k.user_id, k.hash, k.prefix, k.name, k.scope, k.cap, k.cidrs, k.created, k.expires, \
                       k.revoked, k.last_used, k.version, u.tier, u.disabled";
const FROM: &str = "FROM api_keys k JOIN users u ON u.id = k.user_id";

impl Keys {
    /// A number for a key that will be made, so that an answer can name it before.
    ///
    /// # Errors
    /// If none can be had.
    pub async fn next_id(&self) -> Result<KeyId, RecordsError> {
        self.access.next(Counter::Key).await.map(KeyId)
    }

    /// Makes a key, and the account of its cap if it has one. The same number and hash again are the same key.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], [`Conflict::KeysFull`], [`Conflict::Kept`], or if it cannot be written.
    pub async fn create(&self, key: NewKey, kept: Option<Kept>) -> Result<ApiKey, RecordsError> {
        bounded("address ranges", CIDRS_MAX, key.cidrs.len())?;
        at_most(CAP_MAX, key.cap.unwrap_or_default())?;
        let insert = "INSERT INTO api_keys \
            (id, user_id, hash, prefix, name, scope, cap, cidrs, created, expires, version) \
            SELECT $1, u.id, $3, $4, $5, $6, $7, $8, $9, $10, (SELECT value FROM counters WHERE name = 'version') \
            FROM users u WHERE u.id = $2 AND $11 > \
            (SELECT COUNT(*) FROM api_keys k WHERE k.user_id = u.id AND k.revoked IS NULL) ON CONFLICT (id) DO NOTHING";
        let cidrs = key.cidrs.iter().map(Text::as_str).collect::<Vec<_>>().join(",");
        let insert = Write::new(insert).bind(key.id).bind(key.user).bind(&key.hash).bind(&key.prefix).bind(&key.name);
        let insert = insert.bind(key.scope as u64).bind(key.cap.map(Micros::get)).bind(cidrs.as_str());
        let insert = insert.bind(key.created).bind(key.expires).bind(KEYS_MAX).or(Conflict::KeysFull);
        let mut writes = vec![Write::next_version(), insert];
        writes.extend(kept::write(kept.as_ref())?);

        let mut chain = Vec::new();
        if let Some(cap) = key.cap {
            let (cause, account) = (format!("key:{}", key.id.0), chart::key_allowance(key.id));
            chain.push(chart::open(account));
            chain.push(Event::Transfer(chart::post(&cause, chart::POOL, account, cap, Purpose::Allowance)));
        }
        let outcomes = self.access.change(writes, chain).await;
        let made = self.by_id(key.id).await?.map(|grant| grant.key);
        match outcomes {
            Err(RecordsError::Conflict(Conflict::KeysFull)) => {
                // Asked again after an answer that did not come.
                if let Some(made) = made.filter(|made| made.hash == key.hash) {
                    return Ok(made);
                }
                let user = self.access.row("SELECT id FROM users WHERE id = $1", &[key.user.into()]).await?;
                Err(user.map_or(Conflict::UnknownUser, |_| Conflict::KeysFull).into())
            }
            outcomes => {
                chart::all_done(self.access.database(), &outcomes?)?;
                made.ok_or(Conflict::UnknownKey.into())
            }
        }
    }

    /// What a key with a cap can still spend; `None` if it has no cap, or there is no such key.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn remaining(&self, key: KeyId) -> Result<Option<Micros>, RecordsError> {
        let state = self.access.accounts(&[chart::key_allowance(key)]).await?.pop();
        Ok(state.map(|state| state.balance.available()))
    }

    /// A key.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn by_id(&self, key: KeyId) -> Result<Option<Grant>, RecordsError> {
        let sql = format!("SELECT {COLUMNS} {FROM} WHERE k.id = $1");
        let row = self.access.row(&sql, &[key.into()]).await?;
        row.map(|row| read(&self.access, &row)).transpose()
    }

    /// Keys of a user behind number `after`, also revoked ones, in order, at most `limit`.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`KEYS_PAGE_MAX`] are asked for.
    pub async fn of_user(&self, user: UserId, after: Option<KeyId>, limit: usize) -> Result<Vec<ApiKey>, RecordsError> {
        let rest = "WHERE k.user_id = $1 AND k.id > $2 ORDER BY k.id LIMIT $3";
        let grants = self.grants(rest, &[user.into(), number(after)], limit).await?;
        Ok(grants.into_iter().map(|grant| grant.key).collect())
    }

    /// What each of these keys has spent of its cap, as it was last written; of a key without one, nothing is told.
    ///
    /// # Errors
    /// If it cannot be read, or more than [`KEYS_PAGE_MAX`] are asked for.
    pub async fn spent(&self, keys: &[KeyId]) -> Result<HashMap<KeyId, Micros>, RecordsError> {
        bounded("keys", KEYS_PAGE_MAX, keys.len())?;
        let ids: Vec<_> = keys.iter().map(|key| chart::key_allowance(*key)).collect();
        let by_id: HashMap<_, _> = ids.iter().zip(keys).collect();
        let states = self.access.accounts(&ids).await?;
        let spent = states.iter().filter_map(|state| {
            let key = by_id.get(&state.account.id)?;
            Some((**key, state.balance.debits_posted))
        });
        Ok(spent.collect())
    }

    /// All keys behind number `after`, also revoked ones, in order, at most `limit`: what a cache is loaded from. Ask for
    /// [`Keys::version`] before the first page.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`KEYS_PAGE_MAX`] are asked for.
    pub async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<Grant>, RecordsError> {
        self.grants("WHERE k.id > $1 ORDER BY k.id LIMIT $2", &[number(after)], limit).await
    }

    /// Revokes a key, of `owner` if one is named. Asked again, it changes nothing.
    ///
    /// # Errors
    /// [`Conflict::UnknownKey`], or if it cannot be written.
    pub async fn revoke(&self, key: KeyId, owner: Option<UserId>) -> Result<ApiKey, RecordsError> {
        let set = "UPDATE api_keys SET revoked = $1, version = (SELECT value FROM counters WHERE name = 'version') \
                   WHERE id = $2 AND revoked IS NULL AND ($3 IS NULL OR user_id = $3)";
        let owned = owner.map(|user| user.0);
        let set = Write::new(set).bind(self.access.now()).bind(key).bind(owned).or(Conflict::UnknownKey);
        match self.access.write(vec![Write::next_version(), set]).await {
            Ok(()) | Err(RecordsError::Conflict(Conflict::UnknownKey)) => {}
            Err(error) => return Err(error),
        }
        let key = self.by_id(key).await?.map(|grant| grant.key);
        key.filter(|key| owner.is_none_or(|owner| owner == key.user)).ok_or(Conflict::UnknownKey.into())
    }

    /// The version that the tables are at now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn version(&self) -> Result<u64, RecordsError> {
        self.access.counter("version").await
    }

    /// Keys and users that changed behind version `after`, at most `limit` of them, each as it is now. Changes of all
    /// processes are seen, none is left out, and one may be seen twice.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`KEYS_PAGE_MAX`] are asked for.
    pub async fn changes(&self, after: u64, limit: usize) -> Result<Changes, RecordsError> {
        // First: what the queries behind it see is at least of this version.
        let version = self.version().await?;
        if version <= after || limit == 0 {
            return Ok(Changes { changed: Vec::new(), version: after });
        }
        let keys = "WHERE k.version > $1 ORDER BY k.version LIMIT $2";
        let keys = self.grants(keys, &[after.into()], limit).await?;
        let sql = format!("SELECT {} FROM users u WHERE u.version > $1 ORDER BY u.version LIMIT $2", users::COLUMNS);
        let rows = self.access.rows(&sql, &[after.into(), (limit as u64).into()]).await?;
        let users: Result<Vec<_>, _> = rows.iter().map(|row| users::read(&self.access, row)).collect();
        let mut changed: Vec<_> = keys.into_iter().map(Changed::Key).collect();
        changed.extend(users?.into_iter().map(Changed::User));
        changed.sort_by_key(Changed::version);
        changed.retain(|change| change.version() <= version);
        let is_cut = changed.len() >= limit;
        changed.truncate(limit);
        let version = changed.last().filter(|_| is_cut).map_or(version, Changed::version);
        Ok(Changes { changed, version })
    }

    async fn grants(&self, rest: &str, values: &[Value], limit: usize) -> Result<Vec<Grant>, RecordsError> {
        bounded("keys", KEYS_PAGE_MAX, limit)?;
        let sql = format!("SELECT {COLUMNS} {FROM} {rest}");
        let mut values = values.to_vec();
        values.push((limit as u64).into());
        let rows = self.access.rows(&sql, &values).await?;
        rows.iter().map(|row| read(&self.access, row)).collect()
    }
}

impl Changed {
    fn version(&self) -> u64 {
        match self {
            Self::Key(grant) => grant.key.version,
            Self::User(user) => user.version,
        }
    }
}

impl Scope {
    fn from_number(number: u64) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin].into_iter().find(|scope| *scope as u64 == number)
    }
}

fn number(after: Option<KeyId>) -> Value {
    after.map_or(0, |key| key.0).into()
}

fn read(access: &Access, row: &AnyRow) -> Result<Grant, RecordsError> {
    let fields = access.fields(row);
    let cidrs = fields.string("cidrs")?;
    let cidrs = cidrs.split(',').filter(|cidr| !cidr.is_empty()).map(Text::new);
    let key = ApiKey {
        id: KeyId(fields.number("id")?),
        user: fields.user("user_id")?,
        hash: fields.hash("hash")?,
        prefix: fields.text("prefix")?,
        name: fields.text("name")?,
        scope: Scope::from_number(fields.number("scope")?).ok_or_else(|| fields.wrong("scope"))?,
        cap: fields.maybe_micros("cap")?,
        cidrs: cidrs.collect::<Result<_, _>>().map_err(|_| fields.wrong("cidrs"))?,
        created: fields.time("created")?,
        expires: fields.maybe_time("expires")?,
        revoked: fields.maybe_time("revoked")?,
        last_used: fields.maybe_time("last_used")?,
        version: fields.number("version")?,
    };
    Ok(Grant { key, tier: fields.text("tier")?, is_user_disabled: fields.maybe_time("disabled")?.is_some() })
}
