//! Whether Stripe sent a webhook: the `Stripe-Signature` header, <https://docs.stripe.com/webhooks#verify-manually>.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// How far a webhook's time may be from ours, either way, unless told otherwise.
pub const TOLERANCE_SECONDS: u64 = 300;

const HEADER_BYTES_MAX: usize = 4096;
const SIGNATURES_MAX: usize = 16;
const SECRETS_MAX: usize = 4;
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 8..=255;

/// A webhook that is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header cannot be read.
    #[error("the signature header has no timestamp or is not a list of `key=value`")]
    Malformed,
    /// The header has nothing of the scheme `v1`.
    #[error("the signature header has no signature of scheme v1")]
    NoSignature,
    /// No signature fits the body: it was changed, or signed with a secret that is not known here.
    #[error("no signature fits the body")]
    Mismatch,
    /// Rightly signed, but further from now than is tolerated: perhaps replayed, or a clock is wrong.
    #[error("the webhook was signed at {signed}, more than {tolerance} s from now")]
    Time {
        /// When it was signed, in seconds since the Unix epoch.
        signed: u64,
        /// What is tolerated, in seconds.
        tolerance: u64,
    },
}

/// One webhook endpoint: the secrets that Stripe may sign with (two while a secret is rolled) and the tolerance in time.
pub struct Endpoint {
    keys: Vec<Hmac<Sha256>>,
    tolerance: u64,
}

impl Endpoint {
    /// An endpoint with one to four secrets of 8 to 255 bytes, each the whole text that Stripe shows, `whsec_` included; `None` if
    /// they are not. The tolerance is in seconds.
    pub fn new(secrets: &[&str], tolerance: u64) -> Option<Self> {
        let usable = secrets.iter().all(|secret| SECRET_BYTES.contains(&secret.len()));
        if secrets.is_empty() || secrets.len() > SECRETS_MAX || !usable {
            return None;
        }
        let keys = secrets.iter().map(|secret| Hmac::new_from_slice(secret.as_bytes()).ok()).collect::<Option<_>>()?;
        Some(Self { keys, tolerance })
    }

    /// Checks that one of the header's signatures is that of `body`, exactly as it was received, and that it was made near
    /// `now` (seconds since the Unix epoch). Compares in constant time.
    ///
    /// # Errors
    /// [`SignatureError`], in the order of its variants. What it says may be sent to the caller.
    pub fn verify(&self, header: &str, body: &[u8], now: u64) -> Result<(), SignatureError> {
        let Header { signed, signed_text, signatures } = Header::parse(header)?;
        let fits = |key: &Hmac<Sha256>| {
            let expected = key.clone().chain_update(signed_text).chain_update(b".").chain_update(body);
            signatures.iter().any(|signature| expected.clone().verify_slice(signature).is_ok())
        };
        if !self.keys.iter().any(fits) {
            return Err(SignatureError::Mismatch);
        }
        if signed.abs_diff(now) > self.tolerance {
            return Err(SignatureError::Time { signed, tolerance: self.tolerance });
        }
        Ok(())
    }
}

struct Header<'a> {
    signed: u64,
    /// As it was written, for that is what was signed.
    signed_text: &'a str,
    signatures: Vec<[u8; 32]>,
}

impl<'a> Header<'a> {
    fn parse(header: &'a str) -> Result<Self, SignatureError> {
        if header.len() > HEADER_BYTES_MAX {
            return Err(SignatureError::Malformed);
        }
        let (mut signed_text, mut signatures, mut seen) = (None, Vec::new(), 0);
        for item in header.split(',') {
            let (scheme, value) = item.trim().split_once('=').ok_or(SignatureError::Malformed)?;
            match scheme {
                "t" if signed_text.replace(value).is_some() => return Err(SignatureError::Malformed),
                "v1" => {
                    seen += 1;
                    let mut signature = [0; 32];
                    // What is not 64 hexadecimal digits fits nothing; another signature of the header still may.
                    if hex::decode_to_slice(value, &mut signature).is_ok() {
                        signatures.push(signature);
                    }
                }
                _ => {}
            }
        }
        let signed_text = signed_text.ok_or(SignatureError::Malformed)?;
        let digits = signed_text.bytes().all(|byte| byte.is_ascii_digit());
        let signed = signed_text.parse().ok().filter(|_| digits).ok_or(SignatureError::Malformed)?;
        match seen {
            0 => Err(SignatureError::NoSignature),
            1..=SIGNATURES_MAX => Ok(Self { signed, signed_text, signatures }),
            _ => Err(SignatureError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"{}";
    const NOW: u64 = 1_700_000_000;

    fn header(secret: &str, signed: u64) -> String {
        let mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).unwrap();
        let signature = mac.chain_update(format!("{signed}.")).chain_update(BODY).finalize().into_bytes();
        format!("t={signed},v1={}", hex::encode(signature))
    }

    #[test]
    fn time_is_tolerated_both_ways_and_not_a_second_more() {
        let secret = "whsec_test_secret";
        let endpoint = Endpoint::new(&[secret], TOLERANCE_SECONDS).unwrap();
        let verdict = |signed| endpoint.verify(&header(secret, signed), BODY, NOW);
        assert_eq!((verdict(NOW - 300), verdict(NOW), verdict(NOW + 300)), (Ok(()), Ok(()), Ok(())));
        for signed in [NOW - 301, NOW + 301, 0, u64::MAX] {
            assert_eq!(verdict(signed), Err(SignatureError::Time { signed, tolerance: 300 }));
        }
    }

    #[test]
    fn while_a_secret_is_rolled_both_are_believed() {
        let endpoint = Endpoint::new(&["whsec_the_new_secret", "whsec_the_old_secret"], 300).unwrap();
        for (secret, verdict) in [
            ("whsec_the_new_secret", Ok(())),
            ("whsec_the_old_secret", Ok(())),
            ("whsec_another_secret", Err(SignatureError::Mismatch)),
            // The key is the whole text: what follows the prefix alone signs nothing.
            ("the_new_secret", Err(SignatureError::Mismatch)),
        ] {
            assert_eq!(endpoint.verify(&header(secret, NOW), BODY, NOW), verdict, "{secret}");
        }
    }

    #[test]
    fn an_endpoint_without_a_real_secret_is_refused() {
        let long = "x".repeat(256);
        for secrets in [&[][..], &[""], &["whsec_x"], &["whsec_test_secret", ""], &[&long], &["whsec_test_secret"; 5]] {
            assert!(Endpoint::new(secrets, 300).is_none(), "{secrets:?}");
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let endpoint = Endpoint::new(&["whsec_test_secret"], 300).unwrap();
        let good = header("whsec_test_secret", NOW);
        let signature = good.split_once("v1=").unwrap().1;
        let twice = format!("t={NOW},{good}");
        let plus = format!("t=+{NOW},v1={signature}");
        let many = format!("{good}{}", ",v1=0".repeat(SIGNATURES_MAX));
        let long = format!("{good},v0={}", "0".repeat(HEADER_BYTES_MAX));
        for text in
            ["", ",", "t=", "t=1", "v1=", "t=-1,v1=00", "t=99999999999999999999,v1=00", &twice, &plus, &many, &long]
        {
            let verdict = endpoint.verify(text, BODY, NOW);
            assert!(
                matches!(verdict, Err(SignatureError::Malformed | SignatureError::NoSignature)),
                "{text}: {verdict:?}"
            );
        }
        assert_eq!(endpoint.verify(&good.replace("t=1", "t=2"), BODY, NOW), Err(SignatureError::Mismatch));
        assert_eq!(
            endpoint.verify(&format!("t={NOW},v1={}", &signature[..62]), BODY, NOW),
            Err(SignatureError::Mismatch)
        );
    }
}
