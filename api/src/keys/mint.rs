//! A new key, whose text is shown in this one answer and never again.
//!
//! It can do no more than the one that makes it: a key makes none that lives longer, comes from elsewhere, or spends beside
//! its cap. Whoever has logged in has none of these limits.

use std::time::Duration;

use auth::{AllowList, ApiKey, KeyGrant, Scope};
use axum::{
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
};
use ledger::{Micros, Timestamp};
use rand::rngs::OsRng;
use records::{CAP_MAX, Conflict, KeyId, Name, NewKey, RecordsError, Text, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Key;
use crate::{
    access::{Caller, Identity, apply_key},
    accounts::Accounts,
    body::Exact,
    moment,
    once::{Asked, Once},
    openapi::ApiScope,
    problem::Problem,
    routes::App,
};

const DAYS_MAX: u64 = 3650;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a key shall be.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewApiKey)]
pub(super) struct Wish {
    /// What to call it.
    #[schema(example = "my-first-bot", min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    name: String,
    /// What it may do; `read` and `write` without it.
    #[schema(value_type = Option<Vec<ApiScope>>, example = json!(["read", "write"]), min_items = 1)]
    scopes: Option<Vec<String>>,
    /// When it ends; never without it.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// The same, counted from now.
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<u64>,
    /// What it may ever spend; as much as the account without it.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
    spend_cap_micros: Option<u64>,
    /// Addresses and networks (CIDR) from where it may be used; from anywhere without them.
    #[schema(max_items = 32)]
    allowed_ips: Option<Vec<String>>,
}

/// A wish that can be granted.
struct Terms {
    name: Name,
    scope: Scope,
    expires: Option<Timestamp>,
    cap: Option<Micros>,
    allowed: AllowList,
}

/// The key, and what stays known of it.
// Has no `Debug`.
#[derive(Serialize, ToSchema)]
#[schema(as = MintedApiKey)]
struct Minted<'a> {
    /// The key. It is shown here, and never again.
    #[schema(example = "kai-…")]
    api_key: &'a str,
    #[serde(flatten)]
    key: Key,
}

/// Make a key.
///
/// The key is shown in this answer, and never again. It takes a login, or a key with the scope admin, which makes none that
/// can do more than itself.
#[utoipa::path(
    post,
    path = "/v1/auth/api-keys",
    operation_id = "create_api_key",
    tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "A name of this request, 1 to 255 characters: if it comes again, it gets the answer that it got.")),
    request_body = Wish,
    responses(
        (status = 201, description = "The key.", body = Minted),
        (status = 403, description = "`insufficient_scope`, or `beyond_own_key`: it could do more than the key that asks."),
        (status = 409, description = "`too_many_api_keys`: a user has at most 100 that are good; or `idempotency_in_progress`."),
        (status = 422, description = "`idempotency_key_reused`: the name was given to another request."),
    ),
)]
pub(super) async fn mint(
    State(app): State<App>,
    caller: Caller,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Exact { bytes, value }: Exact<Wish>,
) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    let member = caller.member()?.needs(Scope::Admin)?;
    let asked = Asked { user: member.user, realm: "", method: &method, path: uri.path(), body: &bytes };
    let ticket = match Once::begin(accounts, &headers, asked).await? {
        Once::First(ticket) => ticket,
        Once::Again(answer) => return Ok(answer),
    };
    let now = app.now();
    let terms = Terms::of(value, now)?.within(&caller.identity)?;
    let text = ApiKey::generate(&mut OsRng).map_err(|error| {
        tracing::error!(%error, "there are no random bytes for a key");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no key can be made")
    })?;
    let keys = accounts.records.keys();
    let id = keys.next_id().await?;
    let new = terms.key(id, member.user, &text, now);
    let minted = Minted { api_key: text.reveal(), key: Key::new(&unused(&new), new.cap.map(|_| Micros::ZERO)) };
    let mut answer = ticket.compose(accounts, now, StatusCode::CREATED, &minted)?;
    match keys.create(new, answer.kept.take()).await {
        Ok(_) => {}
        Err(RecordsError::Conflict(Conflict::Kept)) => {
            return ticket.replay(accounts).await?.ok_or_else(|| Conflict::Kept.into());
        }
        Err(error) => return Err(error.into()),
    }
    put_on_keyring(&app, accounts, id).await;
    Ok(answer.into_response())
}

/// Lets the key in at once. It is read again, because its user may have been shut out meanwhile.
async fn put_on_keyring(app: &App, accounts: &Accounts, id: KeyId) {
    match accounts.records.keys().by_id(id).await {
        Ok(Some(grant)) => apply_key(app.access.keyring(), &grant, grant.key.version),
        // Whoever follows the database finds it a moment later.
        Ok(None) => {}
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a new key is not yet let in"),
    }
}

impl Terms {
    fn of(wish: Wish, now: Timestamp) -> Result<Self, Problem> {
        let invalid = |field: &str, message: String| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", message).field(field)
        };
        let name = Name::new(wish.name).map_err(|error| invalid("name", error.to_string()))?;
        let scope = match &wish.scopes {
            None => Scope::Write,
            Some(names) => Scope::from_names(names.iter().map(String::as_str))
                .map_err(|error| invalid("scopes", error.to_string()))?,
        };
        let expires = match (wish.expires_at, wish.expires_in_days) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                let message = "give either expires_at or expires_in_days";
                return Err(invalid("expires_in_days", message.to_owned()));
            }
            (Some(text), None) => {
                let wrong =
                    || "use RFC 3339, such as 2030-01-31T00:00:00Z, and a time that is still to come".to_owned();
                let time = moment::parse(&text).filter(|time| *time > now);
                Some(time.ok_or_else(|| invalid("expires_at", wrong()))?)
            }
            (None, Some(days)) => {
                let wrong = || invalid("expires_in_days", format!("use 1 to {DAYS_MAX} days"));
                let days = u32::try_from(days).ok().filter(|days| (1..=DAYS_MAX).contains(&u64::from(*days)));
                let life = DAY.saturating_mul(days.ok_or_else(wrong)?);
                let nanos = u64::try_from(life.as_nanos()).ok().and_then(|life| now.nanos().checked_add(life));
                Some(nanos.and_then(Timestamp::new).ok_or_else(wrong)?)
            }
        };
        let cap = wish.spend_cap_micros.map(|cap| {
            let cap = Micros::new(cap).filter(|cap| *cap > Micros::ZERO && *cap <= CAP_MAX);
            cap.ok_or_else(|| invalid("spend_cap_micros", format!("use 1 to {} micros", CAP_MAX.get())))
        });
        let allowed = AllowList::parse(wish.allowed_ips.iter().flatten().map(String::as_str));
        let allowed = allowed.map_err(|error| invalid("allowed_ips", error.to_string()))?;
        Ok(Self { name, scope, expires, cap: cap.transpose()?, allowed })
    }

    /// Limits them to what whoever asks may do.
    fn within(self, maker: &Identity) -> Result<Self, Problem> {
        let Identity::Key(_, maker) = maker else { return Ok(self) };
        let KeyGrant { expires_at, allowed, has_cap, .. } = &**maker;
        let beyond = |field: &str, message: &str| {
            Err(Problem::new(StatusCode::FORBIDDEN, "beyond_own_key", message).field(field))
        };
        if *has_cap {
            return beyond("spend_cap_micros", "a key with a spend cap makes no keys; log in to make one");
        }
        let expires = match (expires_at.and_then(|end| Timestamp::new(end.nanos())), self.expires) {
            (Some(end), Some(wanted)) if wanted > end => {
                return beyond("expires_at", "a key makes none that lives longer than itself; log in to make one");
            }
            (end, wanted) => wanted.or(end),
        };
        if !self.allowed.is_empty() && !allowed.includes(&self.allowed) {
            return beyond("allowed_ips", "a key makes none for addresses that are not its own; log in to make one");
        }
        let allowed = if self.allowed.is_empty() { allowed.clone() } else { self.allowed };
        Ok(Self { expires, allowed, ..self })
    }

    fn key(self, id: KeyId, user: UserId, text: &ApiKey, created: Timestamp) -> NewKey {
        NewKey {
            id,
            user,
            hash: text.hash().0,
            prefix: Text::cut(text.prefix()),
            name: self.name,
            scope: match self.scope {
                Scope::Read => records::Scope::Read,
                Scope::Write => records::Scope::Write,
                Scope::Admin => records::Scope::Admin,
            },
            cap: self.cap,
            // A network as text is never longer.
            cidrs: self.allowed.entries().map(|entry| Text::cut(&entry)).collect(),
            created,
            expires: self.expires,
        }
    }
}

/// The key as it will be stored.
fn unused(new: &NewKey) -> records::ApiKey {
    let NewKey { id, user, hash, prefix, name, scope, cap, cidrs, created, expires } = new.clone();
    let (revoked, last_used, version) = (None, None, 0);
    records::ApiKey { id, user, hash, prefix, name, scope, cap, cidrs, created, expires, revoked, last_used, version }
}
