//! Who a request comes from.

use std::{net::IpAddr, sync::Arc};

use auth::{KeyGrant, KeyHash, KeyRefusal, Scope, Timestamp, TokenError};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use records::{KeyId, Payer, UserId};

use super::Access;
use crate::{limits::Who, problem::Problem, tiers::ANONYMOUS};

/// Longer than any key or token.
const CREDENTIAL_BYTES_MAX: usize = 4096;

/// See the module. Every request that passed the gate has one among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) address: IpAddr,
    pub(crate) tier: Arc<str>,
    pub(crate) identity: Identity,
}

/// What a caller has shown.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Nothing.
    Anonymous,
    /// A key.
    Key(KeyHash, Arc<KeyGrant>),
    /// That it has logged in.
    User(UserId),
}

/// A caller with an account.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) user: UserId,
    /// Nothing for one who has logged in.
    pub(crate) key: Option<KeyId>,
    /// Whether that key has a cap of its own.
    pub(crate) has_key_cap: bool,
    pub(crate) scope: Scope,
    pub(crate) tier: Arc<str>,
    pub(crate) address: IpAddr,
}

impl Caller {
    /// Somebody at `address`.
    pub(crate) fn anonymous(address: IpAddr) -> Self {
        Self { address, tier: ANONYMOUS.into(), identity: Identity::Anonymous }
    }

    /// Who sends these headers from `address`.
    ///
    /// # Errors
    /// 401 where a credential is given that is not good; none at all is fine.
    pub(crate) async fn of(
        access: &Access,
        headers: &HeaderMap,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let Some(credential) = credential(headers)? else { return Ok(Self::anonymous(address)) };
        if is_token(credential) {
            return Self::of_token(access, credential, address, now).await;
        }
        let grant = access.keyring().lookup(credential, now, address).map_err(refused_key)?;
        let tier = Arc::clone(&grant.tier);
        Ok(Self { address, tier, identity: Identity::Key(KeyHash::of(credential), grant) })
    }

    async fn of_token(access: &Access, token: &str, address: IpAddr, now: Timestamp) -> Result<Self, Problem> {
        let Some(accounts) = access.accounts() else { return Err(refused_key(KeyRefusal::Unknown)) };
        let claim = accounts.tokens.verify(token, now).map_err(refused_token)?;
        let user = accounts.records.users().by_id(UserId(claim.user_id)).await?;
        match user {
            Some(user) if user.disabled.is_none() => {
                Ok(Self { address, tier: user.tier.as_str().into(), identity: Identity::User(user.id) })
            }
            Some(_) => Err(refused_key(KeyRefusal::Disabled)),
            None => Err(refused_token(TokenError::Forged)),
        }
    }

    /// Whose bucket its requests are taken from.
    pub(crate) fn who(&self) -> Who {
        match &self.identity {
            Identity::Anonymous => Who::address(self.address),
            Identity::Key(hash, _) => Who::Key(hash.0),
            Identity::User(user) => Who::User(user.0),
        }
    }

    /// The account that it acts for.
    pub(crate) fn member(&self) -> Result<Member, Problem> {
        let (user, key, has_key_cap, scope) = match &self.identity {
            Identity::Anonymous => return Err(refused_key(KeyRefusal::Missing)),
            Identity::User(user) => (*user, None, false, Scope::Admin),
            Identity::Key(_, grant) => match grant.owner {
                Some(owner) => (UserId(owner.user_id), Some(KeyId(owner.key_id)), grant.has_cap, grant.scope),
                None => {
                    let message = "this key is one of the server's configuration and has no account; \
                                   register and make a key of your own";
                    return Err(Problem::new(StatusCode::FORBIDDEN, "no_account", message));
                }
            },
        };
        Ok(Member { user, key, has_key_cap, scope, tier: Arc::clone(&self.tier), address: self.address })
    }
}

impl Member {
    /// Who pays for what it does.
    pub(crate) fn payer(&self) -> Payer {
        Payer { user: self.user, key: self.key, has_key_cap: self.has_key_cap }
    }

    /// Goes on if the caller may do what needs `scope`.
    ///
    /// # Errors
    /// 403 that names both scopes.
    pub(crate) fn needs(self, scope: Scope) -> Result<Self, Problem> {
        if self.scope.allows(scope) {
            return Ok(self);
        }
        let message = format!("this needs a key with the scope {scope}; this one has {}", self.scope);
        Err(Problem::new(StatusCode::FORBIDDEN, "insufficient_scope", message).with("required", scope.name()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no caller"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        <Caller as FromRequestParts<S>>::from_request_parts(parts, state).await?.member()
    }
}

/// The text behind `Authorization: Bearer`, or of `X-Api-Key`.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let text = match (headers.get(header::AUTHORIZATION), headers.get("x-api-key")) {
        (None, None) => return Ok(None),
        (Some(value), _) => {
            let pair = value.to_str().ok().and_then(|value| value.trim().split_once(' '));
            let bearer = pair.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            bearer.map(|(_, credential)| credential.trim())
        }
        (None, Some(value)) => value.to_str().ok().map(str::trim),
    };
    match text.filter(|text| !text.is_empty() && text.len() <= CREDENTIAL_BYTES_MAX) {
        Some(text) => Ok(Some(text)),
        None => {
            let message = "send the header as `Authorization: Bearer KEY`";
            Err(Problem::new(StatusCode::UNAUTHORIZED, "missing_api_key", message))
        }
    }
}

/// A JWT has three parts and its first begins with `{"`; no key does.
fn is_token(credential: &str) -> bool {
    credential.starts_with("eyJ") && credential.bytes().filter(|byte| *byte == b'.').count() == 2
}

pub(crate) fn refused_key(why: KeyRefusal) -> Problem {
    let status = match why {
        KeyRefusal::Address | KeyRefusal::Disabled => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    Problem::new(status, why.code(), why.to_string())
}

fn refused_token(why: TokenError) -> Problem {
    let (code, message) = match why {
        TokenError::Expired => ("expired_token", "this token has expired; log in again"),
        _ => ("invalid_token", "this token is not one of this server's; log in for a new one"),
    };
    Problem::new(StatusCode::UNAUTHORIZED, code, message)
}
