//! What happened, in order, each entry sealed with the one before it.

use sha2::{Digest, Sha256};

use crate::{
    codec::{self, DecodeError},
    event::Fact,
    money::Timestamp,
};

/// SHA-256 over the hash before it and the bytes of an entry.
pub type Hash = [u8; 32];

/// The end of a journal: whoever keeps one can tell later that nothing before it was changed or taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of its last entry; 0 is an empty journal, whose hash is all zeros.
    pub sequence: u64,
    /// The time of its last entry.
    pub time: Timestamp,
    /// The hash of its last entry.
    pub hash: Hash,
}

/// One entry of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1, 2, 3, …
    pub sequence: u64,
    /// When it happened; never before the entry before it.
    pub time: Timestamp,
    /// What happened.
    pub fact: Fact,
    /// Over the hash of the entry before it and [`Entry::bytes`].
    pub hash: Hash,
}

impl Entry {
    /// The canonical bytes: the one way to write this entry, with its number and time and without its hash.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        codec::encode(self.sequence, self.time, &self.fact)
    }

    /// Reads what [`Entry::bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are not what `bytes` of any entry gives. Whether `hash` is right, the verifier says.
    pub fn decode(bytes: &[u8], hash: Hash) -> Result<Self, DecodeError> {
        let (sequence, time, fact) = codec::decode(bytes)?;
        Ok(Self { sequence, time, fact, hash })
    }

    /// The entry behind `head`.
    pub(crate) fn behind(head: &Head, time: Timestamp, fact: Fact) -> Option<Self> {
        let sequence = head.sequence.checked_add(1)?;
        let hash = chain(&head.hash, &codec::encode(sequence, time, &fact));
        Some(Self { sequence, time, fact, hash })
    }

    /// The head of a journal that ends here.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { sequence: self.sequence, time: self.time, hash: self.hash }
    }
}

pub(crate) fn chain(before: &Hash, bytes: &[u8]) -> Hash {
    Sha256::new().chain_update(before).chain_update(bytes).finalize().into()
}
