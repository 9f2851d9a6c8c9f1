//! Answers that are kept for whoever asks again with the same `Idempotency-Key`, encrypted.

use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rand::TryCryptoRng;
use zeroize::Zeroizing;

use crate::{Secret, Subkey};

const NONCE: usize = 24;
const TAG: usize = 16;
/// The longest answer that is kept.
const BYTES_MAX: usize = 1 << 20;

/// Seals answers with XChaCha20-Poly1305. The key comes from the server's secret and the client's `Idempotency-Key`,
/// which is stored as a hash only: the database alone opens nothing, not even together with the secret.
pub struct Sealer {
    answers: Subkey,
    fingerprints: Subkey,
}

/// Why an answer is not sealed or not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More than 1 MiB.
    #[error("an answer of more than {BYTES_MAX} bytes is not kept")]
    Long,
    /// It was changed, or sealed under another key or for another request.
    #[error("the kept answer cannot be opened")]
    Broken,
    /// There are no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl Sealer {
    /// With a key of this server.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self { answers: secret.subkey("idempotent answer"), fingerprints: secret.subkey("fingerprint of a request") }
    }

    /// What a request is known again by. It is keyed, because a request may hold a password: whoever reads the database must
    /// not be able to try passwords on it, which would be much faster than on their own hashes.
    #[must_use]
    pub fn fingerprint(&self, request: &[u8]) -> [u8; 32] {
        *self.fingerprints.derive(request).bytes()
    }

    /// `answer`, to be opened with the same `idempotency_key` and `context` alone. The context says what the answer belongs
    /// to, for example user, method and path; it is not stored.
    ///
    /// # Errors
    /// [`SealError::Long`], [`SealError::Random`].
    pub fn seal<R: TryCryptoRng + ?Sized>(
        &self,
        idempotency_key: &str,
        context: &[u8],
        answer: &[u8],
        random: &mut R,
    ) -> Result<Vec<u8>, SealError> {
        if answer.len() > BYTES_MAX {
            return Err(SealError::Long);
        }
        let mut nonce = [0; NONCE];
        random.try_fill_bytes(&mut nonce).map_err(|_| SealError::Random)?;
        let sealed = encrypt(&self.answers.derive(idempotency_key.as_bytes()), &nonce, context, answer)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The answer in `sealed`.
    ///
    /// # Errors
    /// [`SealError::Broken`] if anything about it is other than it was.
    pub fn open(&self, idempotency_key: &str, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if sealed.len() > NONCE + BYTES_MAX + TAG {
            return Err(SealError::Broken);
        }
        let (nonce, sealed) = sealed.split_first_chunk().ok_or(SealError::Broken)?;
        decrypt(&self.answers.derive(idempotency_key.as_bytes()), nonce, context, sealed).map(Zeroizing::new)
    }
}

fn encrypt(key: &Subkey, nonce: &[u8; NONCE], aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, SealError> {
    cipher(key).encrypt(&XNonce::from(*nonce), Payload { msg, aad }).map_err(|_| SealError::Long)
}

fn decrypt(key: &Subkey, nonce: &[u8; NONCE], aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, SealError> {
    cipher(key).decrypt(&XNonce::from(*nonce), Payload { msg, aad }).map_err(|_| SealError::Broken)
}

fn cipher(key: &Subkey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(<&Key>::from(key.bytes()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::rngs::OsRng;
    use serde_json::Value;

    use super::*;

    fn sealer(text: &str) -> Sealer {
        Sealer::new(&Secret::from_text(&text.repeat(32)).unwrap_or_else(|_| panic!("is a secret")))
    }

    fn bytes(hex: &Value) -> Vec<u8> {
        let hex = hex.as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn an_answer_is_opened_by_the_same_key_for_the_same_request_alone() {
        let ours = sealer("5a");
        let answer = br#"{"key":"kai-secret"}"#;
        let sealed = ours.seal("key-1", b"42 POST /v1/auth/api-keys", answer, &mut OsRng).unwrap();
        assert!(!sealed.windows(10).any(|window| window == b"kai-secret"));
        let open = |sealer: &Sealer, key: &str, context: &[u8]| {
            sealer.open(key, context, &sealed).map(|answer| answer.to_vec())
        };
        assert_eq!(open(&ours, "key-1", b"42 POST /v1/auth/api-keys"), Ok(answer.to_vec()));
        assert_eq!(open(&ours, "key-2", b"42 POST /v1/auth/api-keys"), Err(SealError::Broken));
        assert_eq!(open(&ours, "key-1", b"43 POST /v1/auth/api-keys"), Err(SealError::Broken));
        assert_eq!(open(&sealer("5b"), "key-1", b"42 POST /v1/auth/api-keys"), Err(SealError::Broken));
        let again = ours.seal("key-1", b"42 POST /v1/auth/api-keys", answer, &mut OsRng).unwrap();
        assert_ne!(again, sealed, "a nonce was used twice");
    }

    #[test]
    fn a_fingerprint_is_of_one_request_and_one_server() {
        let (ours, request) = (sealer("5a"), b"POST /v1/auth/register {}");
        assert_eq!(ours.fingerprint(request), sealer("5a").fingerprint(request));
        assert_ne!(ours.fingerprint(request), ours.fingerprint(b"POST /v1/auth/register {} "));
        assert_ne!(ours.fingerprint(request), sealer("5b").fingerprint(request));
    }

    #[test]
    fn a_changed_cut_or_endless_answer_is_not_opened() {
        let sealer = sealer("5a");
        let sealed = sealer.seal("key", b"", b"answer", &mut OsRng).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open("key", b"", &changed).err(), Some(SealError::Broken));
            assert_eq!(sealer.open("key", b"", &sealed[..at]).err(), Some(SealError::Broken));
        }
        assert_eq!(sealer.open("key", b"", &vec![0; 2 * BYTES_MAX]).err(), Some(SealError::Broken));
        assert_eq!(sealer.seal("key", b"", &vec![0; BYTES_MAX + 1], &mut OsRng), Err(SealError::Long));
        let longest = sealer.seal("key", b"", &vec![7; BYTES_MAX], &mut OsRng).unwrap();
        assert_eq!(sealer.open("key", b"", &longest).unwrap().len(), BYTES_MAX);
    }

    /// All cases of Wycheproof; those with a nonce of another length cannot even be said.
    #[test]
    fn wycheproofs_verdicts_on_xchacha20_poly1305_are_ours() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/specs/billing/wycheproof_xchacha20_poly1305_test.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            assert!(std::env::var_os("KANDLE_REQUIRE_SHARED").is_none(), "{} is missing", path.display());
            eprintln!("skipped: Wycheproof's vectors are not here");
            return;
        };
        let file: Value = serde_json::from_str(&text).unwrap();
        let (mut judged, mut unsayable) = (0, 0);
        for case in file["testGroups"].as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap()) {
            let [key, nonce, aad, message, sealed, tag] =
                ["key", "iv", "aad", "msg", "ct", "tag"].map(|name| bytes(&case[name]));
            let sealed = [sealed, tag].concat();
            let Ok(nonce) = <[u8; NONCE]>::try_from(nonce) else {
                assert_eq!(case["result"], "invalid");
                unsayable += 1;
                continue;
            };
            let key = Subkey::of(key.try_into().unwrap());
            let opened = decrypt(&key, &nonce, &aad, &sealed);
            if case["result"] == "valid" {
                assert_eq!(opened.as_ref(), Ok(&message), "{case}");
                assert_eq!(encrypt(&key, &nonce, &aad, &message), Ok(sealed), "{case}");
            } else {
                assert_eq!(opened, Err(SealError::Broken), "{case}");
            }
            judged += 1;
        }
        assert_eq!((judged, unsayable), (306, 9));
    }
}
