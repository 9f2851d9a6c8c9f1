//! Encoded pages that can change no more. Charts ask for the same past again and again, and to read and write a page costs ten
//! times what it costs to send one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use axum::http::Uri;
use bytes::Bytes;

use super::query::Format;

/// The most rows of a page that is kept.
pub(crate) const ROWS_MAX: usize = 2000;
/// The most bytes of all pages; the oldest go first.
const BYTES_MAX: usize = 32 << 20;
/// A page is read again after so long: an import may correct what was taken for settled.
const KEPT_MS: i64 = 60_000;

/// What a page was asked by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(String, Format);

impl Key {
    /// Of a request that is answered in this format.
    pub(crate) fn new(uri: &Uri, format: Format) -> Self {
        Self(uri.to_string(), format)
    }
}

/// An answer but for its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The whole body.
    pub(crate) body: Bytes,
    /// Its tag.
    pub(crate) tag: String,
    /// The cursor of the next page.
    pub(crate) next: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    answers: HashMap<Key, (i64, Answer)>,
    /// From old to new.
    order: VecDeque<Key>,
    bytes: usize,
}

impl Kept {
    /// The page, if it is kept.
    pub(crate) fn find(&self, key: &Key, now_ms: i64) -> Option<Answer> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, answer) = pages.answers.get(key)?;
        (now_ms.saturating_sub(*since) < KEPT_MS).then(|| answer.clone())
    }

    /// Keeps a page in place of older ones.
    pub(crate) fn keep(&self, key: Key, answer: Answer, now_ms: i64) {
        let size = |answer: &Answer| answer.body.len() + 1024;
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.bytes += size(&answer);
        match pages.answers.insert(key.clone(), (now_ms, answer)) {
            Some((_, before)) => pages.bytes -= size(&before),
            None => pages.order.push_back(key),
        }
        while pages.bytes > BYTES_MAX {
            let Some(oldest) = pages.order.pop_front() else { break };
            let before = pages.answers.remove(&oldest);
            pages.bytes -= before.map_or(0, |(_, before)| size(&before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::new(&format!("/x?start={number}").parse().unwrap(), Format::Json)
    }

    fn answer(bytes: usize) -> Answer {
        Answer { body: vec![0; bytes].into(), tag: String::new(), next: None }
    }

    #[test]
    fn a_page_is_kept_for_a_minute_and_replaced_by_its_successor() {
        let kept = Kept::default();
        kept.keep(key(1), answer(5), 1000);
        assert_eq!(kept.find(&key(1), 60_999), Some(answer(5)));
        assert_eq!(kept.find(&key(1), 61_000), None);
        assert_eq!(kept.find(&key(2), 1000), None);
        kept.keep(key(1), answer(6), 61_000);
        assert_eq!(kept.find(&key(1), 61_000), Some(answer(6)));
    }

    #[test]
    fn the_oldest_pages_go_first_and_the_bytes_of_all_are_bounded() {
        let kept = Kept::default();
        for number in 0..100 {
            kept.keep(key(number), answer(1 << 20), 0);
            kept.keep(key(number), answer(1 << 20), 0);
        }
        let found = (0..100).filter(|number| kept.find(&key(*number), 0).is_some()).collect::<Vec<_>>();
        assert_eq!(found, (69..100).collect::<Vec<_>>());
        assert_eq!(kept.0.lock().unwrap().order.len(), 31);
    }
}
