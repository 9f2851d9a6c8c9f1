//! What a login gives: a token that says who it was, for a quarter of an hour.

use std::{fmt, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Secret, Timestamp, hs256};

const TYPE: &str = "at+jwt";
const ISSUER: &str = "kandle";
const AUDIENCE: &str = "kandle-api";
const LIFE: Duration = Duration::from_secs(15 * 60);
/// How far two machines' clocks may differ.
const LEEWAY: Duration = Duration::from_secs(5);
/// Ours have about 250 bytes.
const BYTES_MAX: usize = 1024;

/// Issues and verifies access tokens: JWTs of RFC 9068's type, signed with HMAC-SHA-256 and a key derived from the secret.
///
/// As RFC 8725 asks, the algorithm is fixed by us and never taken from the token, and so are type, issuer and audience.
/// What else a header says (`kid`, `jku`, `jwk`, `x5u`, …) is never looked at.
pub struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

/// A new token: the text that the client sends as its bearer.
pub struct AccessToken {
    text: Zeroizing<String>,
    life: TokenLife,
}

/// From when until when a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLife {
    /// When it was issued.
    pub issued_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// What a good token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserClaim {
    /// Whose it is.
    pub user_id: u64,
    /// For how long.
    pub life: TokenLife,
}

/// Why a token is refused. Only [`TokenError::Expired`] is of interest to its holder: to log in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form of a token, or longer than any.
    #[error("this is not an access token")]
    Malformed,
    /// Signed by nobody, by another, or in another way than ours.
    #[error("the access token was not signed here")]
    Forged,
    /// Signed here, but not as an access token of this API.
    #[error("the token is not meant for this")]
    Foreign,
    /// Its time has not come.
    #[error("the access token is not valid yet")]
    Early,
    /// Its time is over.
    #[error("the access token has expired; log in again")]
    Expired,
}

#[derive(Serialize)]
struct Issued {
    iss: &'static str,
    aud: &'static str,
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Presented {
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
}

impl Tokens {
    /// Tokens of this server.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self::with_key(secret.subkey("access token").bytes())
    }

    fn with_key(key: &[u8]) -> Self {
        hs256::install();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "nbf", "exp"]);
        // The library would read the system's clock; times are compared here, with the time that the caller says.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        Self { signing: EncodingKey::from_secret(key), verifying: DecodingKey::from_secret(key), validation }
    }

    /// A token for a user who has just proved to be one, good for 15 minutes.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] if it cannot be written, which no value of the arguments causes.
    pub fn issue(&self, user_id: u64, now: Timestamp) -> Result<AccessToken, TokenError> {
        let issued_at = Timestamp::from_seconds(now.seconds());
        let life = TokenLife { issued_at, expires_at: issued_at.after(LIFE) };
        let (iat, exp) = (issued_at.seconds(), life.expires_at.seconds());
        let claims = Issued { iss: ISSUER, aud: AUDIENCE, sub: user_id.to_string(), iat, nbf: iat, exp };
        let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::HS256) };
        let text = encode(&header, &claims, &self.signing).map_err(|_| TokenError::Malformed)?;
        Ok(AccessToken { text: Zeroizing::new(text), life })
    }

    /// Whose token `text` is, if it was issued here and is good at `now`, give or take five seconds.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<UserClaim, TokenError> {
        if text.len() > BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(text).map_err(|_| TokenError::Malformed)?;
        if header.alg != Algorithm::HS256 {
            return Err(TokenError::Forged);
        }
        let claims: Presented = match decode(text, &self.verifying, &self.validation) {
            Ok(token) => token.claims,
            Err(error) => return Err(refusal(error.kind())),
        };
        // RFC 7515 §4.1.11: extensions that must be understood are not.
        if header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
            return Err(TokenError::Foreign);
        }
        let user_id = claims.sub.parse().map_err(|_| TokenError::Foreign)?;
        let [issued_at, from, expires_at] = [claims.iat, claims.nbf, claims.exp].map(Timestamp::from_seconds);
        if now.after(LEEWAY) < from {
            return Err(TokenError::Early);
        }
        if now >= expires_at.after(LEEWAY) {
            return Err(TokenError::Expired);
        }
        Ok(UserClaim { user_id, life: TokenLife { issued_at, expires_at } })
    }
}

fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => TokenError::Malformed,
        // The header was read before, so these are about the claims; they are read once the signature is known as ours.
        ErrorKind::Json(_)
        | ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::InvalidIssuer
        | ErrorKind::InvalidAudience
        | ErrorKind::InvalidSubject => TokenError::Foreign,
        _ => TokenError::Forged,
    }
}

impl AccessToken {
    /// The token itself, for the one answer that carries it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// For how long it is good.
    #[must_use]
    pub fn life(&self) -> TokenLife {
        self.life
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AccessToken").field("life", &self.life).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
