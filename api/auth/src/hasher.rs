//! Hashes of passwords, made and compared by a bounded number of threads.

use std::{fmt, num::NonZeroUsize, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{self, phc::PasswordHash},
};
use rand::{TryRngCore, rand_core::OsError, rngs::OsRng};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
};

use crate::{Email, Password, Weakness, strength::judge};

/// What OWASP's Password Storage Cheat Sheet asks of Argon2id at least: 19 MiB, twice, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// A stored hash that asks for more memory than this was not made here: 256 MiB.
const STORED_MEMORY_KIB_MAX: u32 = 262_144;

/// How much work is done and kept waiting at once.
#[derive(Clone, Copy, Debug)]
pub struct HasherLimits {
    /// Hashes at work: each takes a thread and 19 MiB for some 70 ms.
    pub parallel: NonZeroUsize,
    /// Hashes that wait for their turn; beyond them the answer is [`HasherError::Busy`].
    pub waiting: usize,
}

/// Makes and compares Argon2id hashes in PHC's form, off the threads that serve sockets.
pub struct PasswordHasher {
    argon2: Argon2<'static>,
    /// Taken by what is at work and what waits.
    admitted: Arc<Semaphore>,
    /// Taken by what is at work.
    running: Arc<Semaphore>,
    /// Compared with where there is no account, so that the answer takes as long.
    nobody: Arc<str>,
}

/// What came of a comparison.
#[derive(Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the password.
    Right {
        /// A hash to store instead, if the stored one was made with other settings than today's: only now is the password known.
        new_hash: Option<String>,
    },
    /// It is not, or there is no account.
    Wrong,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// As many as may wait already wait: say so (503) and let the client come again.
    #[error("too many passwords are being checked")]
    Busy,
    /// An account cannot have this password; the text is for its owner.
    #[error(transparent)]
    Weak(#[from] Weakness),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[from] OsError),
    /// What is stored is no Argon2id hash, or the settings make no sense.
    #[error("a password's hash cannot be made or read")]
    Hash(#[from] password_hash::Error),
    /// The runtime is stopping.
    #[error("the work was given up")]
    Stopped,
}

impl PasswordHasher {
    /// A hasher with OWASP's settings. Makes one hash at once.
    ///
    /// # Errors
    /// [`HasherError::Random`] if the system has no random bytes.
    pub fn new(limits: HasherLimits) -> Result<Self, HasherError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(password_hash::Error::from)?;
        Self::with_params(limits, params)
    }

    fn with_params(limits: HasherLimits, params: Params) -> Result<Self, HasherError> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut password = [0; 32];
        OsRng.try_fill_bytes(&mut password)?;
        let nobody = hash(&argon2, &password)?.into();
        let parallel = limits.parallel.get().min(Semaphore::MAX_PERMITS / 2);
        let admitted = parallel + limits.waiting.min(Semaphore::MAX_PERMITS / 2);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Ok(Self { argon2, admitted: semaphore(admitted), running: semaphore(parallel), nobody })
    }

    /// The hash to store for a new password of the account of `email`, as PHC text.
    ///
    /// # Errors
    /// [`HasherError::Weak`] if the password is easy to guess, or another [`HasherError`].
    pub async fn hash(&self, password: Password, email: &Email) -> Result<String, HasherError> {
        let (argon2, email) = (self.argon2.clone(), email.clone());
        self.run(move || {
            // Here, because it can take as long as a hash.
            judge(&password, &email)?;
            hash(&argon2, password.as_str().as_bytes())
        })
        .await
    }

    /// Whether `password` is that of the account with the `stored` hash; [`Verdict::Wrong`] takes as long if there is no
    /// account.
    ///
    /// # Errors
    /// [`HasherError`].
    pub async fn verify(&self, password: Password, stored: Option<&str>) -> Result<Verdict, HasherError> {
        let argon2 = self.argon2.clone();
        let is_account = stored.is_some();
        let stored: Arc<str> = stored.map_or_else(|| Arc::clone(&self.nobody), Arc::from);
        self.run(move || {
            let password = password.as_str().as_bytes();
            let stored = PasswordHash::new(&stored).map_err(password_hash::Error::from)?;
            let params = readable(&stored)?;
            match argon2.verify_password(password, &stored) {
                Ok(()) if !is_account => Ok(Verdict::Wrong),
                Ok(()) if is_same(&params, argon2.params()) => Ok(Verdict::Right { new_hash: None }),
                Ok(()) => Ok(Verdict::Right { new_hash: Some(hash(&argon2, password)?) }),
                Err(password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HasherError> + Send + 'static,
    ) -> Result<T, HasherError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| HasherError::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| HasherError::Stopped)?;
        // The permits go along: if the caller leaves, its hash is still at work and still counts. The place among those that
        // are admitted is given back last.
        let permits: [OwnedSemaphorePermit; 2] = [running, admitted];
        let done = task::spawn_blocking(move || {
            let result = work();
            drop(permits);
            result
        });
        done.await.map_err(|_| HasherError::Stopped)?
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right { new_hash } => {
                write!(formatter, "Right({})", if new_hash.is_some() { "outdated" } else { "current" })
            }
            Self::Wrong => formatter.write_str("Wrong"),
        }
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> Result<String, HasherError> {
    let mut salt = [0; 16];
    OsRng.try_fill_bytes(&mut salt)?;
    Ok(argon2.hash_password_with_salt(password, &salt)?.to_string())
}

/// The settings of a stored hash, if it is of Argon2id, whole and within bounds.
fn readable(stored: &PasswordHash) -> Result<Params, HasherError> {
    let params = Params::try_from(stored)?;
    // Without its end every password would merely be wrong.
    let is_whole = stored.salt.is_some() && stored.hash.is_some();
    if !is_whole || stored.algorithm != Algorithm::Argon2id.ident() || params.m_cost() > STORED_MEMORY_KIB_MAX {
        return Err(HasherError::Hash(password_hash::Error::Algorithm));
    }
    Ok(params)
}

fn is_same(one: &Params, other: &Params) -> bool {
    (one.m_cost(), one.t_cost(), one.p_cost()) == (other.m_cost(), other.t_cost(), other.p_cost())
}

#[cfg(test)]
mod tests;
