//! The server's one secret, and the keys that are derived from it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use hmac::{Hmac, Mac, digest::KeyInit};
use rand::{TryRngCore, rngs::OsRng};
use sha2::Sha256;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

const BYTES: usize = 32;
/// More than a secret with a line break takes, so that a file of another kind is noticed and not read to its end.
const FILE_BYTES_MAX: u64 = 256;

/// 32 random bytes that this server alone knows. It has no `Debug`, and its memory is wiped.
pub struct Secret(Zeroizing<[u8; BYTES]>);

/// A key for one purpose, derived from the [`Secret`]: what it protects says nothing of the keys of other purposes.
pub struct Subkey(Zeroizing<[u8; BYTES]>);

/// Why there is no secret. No variant holds any of its text.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not a secret's text.
    #[error("a secret is {BYTES} bytes as {} hexadecimal digits, as `openssl rand -hex {BYTES}` prints them", BYTES * 2)]
    Text,
    /// The file holds something else.
    #[error("{path} does not hold a secret: {BYTES} bytes as {} hexadecimal digits", BYTES * 2)]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read or change the file.
    #[error(
        "{path} is open to others than its owner (mode {mode:03o}); make a new secret, or close it: chmod 600 {path}"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file cannot be read or made.
    #[error("the secret in {path} cannot be read or made")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[from] rand::rand_core::OsError),
}

impl Secret {
    /// The secret in `path`; makes one there, readable by its owner alone, if there is no such file.
    ///
    /// The file appears whole or not at all: of several processes that start at once, all use the same secret.
    ///
    /// # Errors
    /// [`SecretError::Open`] if others may read the file, and what else is wrong with it.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        let file = |source| SecretError::File { path: path.to_owned(), source };
        match File::open(path) {
            Ok(opened) => return Self::read(opened, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file(error)),
        }
        let mut bytes = Zeroizing::new([0; BYTES]);
        OsRng.try_fill_bytes(&mut *bytes)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut made = NamedTempFile::new_in(folder).map_err(file)?;
        made.as_file().set_permissions(fs::Permissions::from_mode(0o600)).map_err(file)?;
        made.write_all(hex(&bytes).as_bytes()).and_then(|()| made.as_file().sync_all()).map_err(file)?;
        if let Err(error) = made.persist_noclobber(path)
            && error.error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(file(error.error));
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(file)?;
        // Read back, because another process may have been first.
        Self::read(File::open(path).map_err(file)?, path)
    }

    /// The secret of a configuration or an environment variable: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`SecretError::Text`] for any other text.
    pub fn from_text(text: &str) -> Result<Self, SecretError> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        let text = text.trim().as_bytes();
        if text.len() != 2 * BYTES {
            return Err(SecretError::Text);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |at: usize| pair.get(at).and_then(|&digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(SecretError::Text) };
            *byte = u8::try_from(high << 4 | low).map_err(|_| SecretError::Text)?;
        }
        Ok(Self(bytes))
    }

    /// The key for the purpose that `label` names: HMAC-SHA-256 of the label under the secret.
    #[must_use]
    pub fn subkey(&self, label: &str) -> Subkey {
        Subkey(derive(&self.0, label.as_bytes()))
    }

    fn read(file: File, path: &Path) -> Result<Self, SecretError> {
        let wrong = |source| SecretError::File { path: path.to_owned(), source };
        // Asked of the open file: the name may lead elsewhere in the next moment.
        let about = file.metadata().map_err(wrong)?;
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Open { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(wrong)?;
        Self::from_text(&text).map_err(|_| SecretError::Content { path: path.to_owned() })
    }
}

impl Subkey {
    /// A key below this one, for what `name` says.
    #[must_use]
    pub fn derive(&self, name: &[u8]) -> Self {
        Self(derive(&self.0, name))
    }

    pub(crate) fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(bytes: [u8; BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

fn derive(key: &[u8; BYTES], label: &[u8]) -> Zeroizing<[u8; BYTES]> {
    // RFC 2104 fills a short key up with zeros to a block: done here, it is a length that cannot be wrong.
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
    let mac = <Hmac<Sha256> as KeyInit>::new((&*block).into()).chain_update(label);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn hex(bytes: &[u8; BYTES]) -> Zeroizing<String> {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = Zeroizing::new(String::with_capacity(2 * BYTES + 1));
    text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    fn fails(text: &str) -> bool {
        matches!(Secret::from_text(text), Err(SecretError::Text))
    }

    #[test]
    fn a_subkey_is_the_hmac_of_its_label() {
        // RFC 4231, test case 1 has a key of 20 bytes; this value is of Python's hmac module.
        let secret = Secret::from_text(TEXT).unwrap_or_else(|_| panic!("is a secret"));
        let expected = "799ef35acf21da6109953721bac8e63f";
        assert_eq!(hex(secret.subkey("token").bytes())[..32], *expected);
        assert_ne!(secret.subkey("token").bytes(), secret.subkey("seal").bytes());
    }

    #[test]
    fn a_text_of_another_length_or_other_digits_is_refused() {
        assert!(fails("") && fails(&TEXT[1..]) && fails(&format!("{TEXT}0")) && fails(&TEXT.replace('0', "g")));
        assert!(fails(&"é".repeat(32)) && fails(&TEXT.replace("00", "+1")));
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let starts: Vec<_> = (0..8)
            .map(|_| {
                thread::spawn({
                    let path = path.clone();
                    move || *Secret::load_or_create(&path).unwrap_or_else(|error| panic!("{error}")).0
                })
            })
            .collect();
        let secrets: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert!(secrets.iter().all(|secret| *secret == secrets[0] && *secret != [0; BYTES]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a file is left over");
    }

    #[test]
    fn a_file_that_others_can_read_or_that_holds_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let with = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Secret::load_or_create(&path).err()
        };
        for mode in [0o640, 0o604, 0o620, 0o666] {
            assert!(matches!(with(TEXT, mode), Some(SecretError::Open { mode: found, .. }) if found == mode));
        }
        assert!(with(TEXT, 0o600).is_none() && with(&format!("{TEXT}\n"), 0o400).is_none());
        for text in ["", "secret", &TEXT.repeat(100)] {
            fs::remove_file(&path).unwrap();
            let error = with(text, 0o600);
            assert!(matches!(error, Some(SecretError::Content { .. })), "{error:?}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Secret::load_or_create(&path).is_err());
    }
}
