//! Finds the ids of events in a stream of bytes, whatever it is wrapped in and wherever reads cut it.

use memchr::memmem::Finder;

const KEY: &[u8; 5] = b"\"id\":";

/// How much of [`KEY`] still matches after a mismatch behind its first `n` bytes: only its two quotes are alike.
const FALLBACK: [usize; KEY.len()] = [0, 0, 0, 0, 1];

/// The place of one connection within its stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanner {
    /// Bytes of the key that ended the last read.
    matched: usize,
    /// The number behind the key so far.
    number: Option<u64>,
}

/// The search for the key, prepared once.
pub(crate) struct Key(Finder<'static>);

impl Key {
    pub(crate) fn new() -> Self {
        Self(Finder::new(KEY))
    }
}

impl Scanner {
    /// Calls `on_id` with each number that follows the key; one that reaches the end of `bytes` is told with the next byte.
    pub(crate) fn scan(&mut self, key: &Key, mut bytes: &[u8], mut on_id: impl FnMut(u64)) {
        bytes = self.resume(bytes);
        if self.matched > 0 {
            return;
        }
        loop {
            if let Some(number) = self.number {
                let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (head, rest) = bytes.split_at(digits);
                let number =
                    head.iter().fold(number, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
                self.number = Some(number);
                if rest.is_empty() {
                    return;
                }
                self.number = None;
                on_id(number);
                bytes = rest;
            }
            let Some(at) = key.0.find(bytes) else { break };
            self.number = Some(0);
            bytes = bytes.get(at + KEY.len()..).unwrap_or_default();
        }
        self.matched = (1..KEY.len()).rev().find(|length| bytes.ends_with(&KEY[..*length])).unwrap_or(0);
    }

    /// Goes on with a key that the last read cut; gives what is left, which is nothing while the key goes on.
    fn resume<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            while self.matched > 0 && KEY[self.matched] != *byte {
                self.matched = FALLBACK[self.matched];
            }
            if self.matched == 0 {
                // The byte may begin a key of its own.
                return &bytes[at..];
            }
            self.matched += 1;
            if self.matched == KEY.len() {
                self.matched = 0;
                self.number = Some(0);
                return &bytes[at + 1..];
            }
        }
        &bytes[bytes.len()..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, ids: &[u64]) {
        let key = Key::new();
        let text = text.as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut scanner = Scanner::default();
                let mut seen = Vec::new();
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    scanner.scan(&key, part, |id| seen.push(id));
                }
                assert_eq!(seen, ids, "{first} {second}");
            }
        }
    }

    #[test]
    fn ids_are_found_wherever_reads_cut_the_stream() {
        check(r#"{"data":[{"id":1000000017,"ts":5}]}{"id":2}"#, &[1_000_000_017, 2]);
    }

    #[test]
    fn a_false_start_hides_no_key() {
        check(r#""id"id":7,""id":8 "i"id":9,"idd":10,"#, &[7, 8, 9]);
        check(r#"{"server_id":"a","client_id":5,"id":null,"id":3}"#, &[0, 3]);
    }

    #[test]
    fn a_number_at_the_end_waits_for_the_next_byte() {
        check(r#""id":12"#, &[]);
        check(r#""id":12}"#, &[12]);
    }

    #[test]
    fn single_bytes_are_enough() {
        let (key, mut scanner, mut seen) = (Key::new(), Scanner::default(), Vec::new());
        let text = br#"MSG x {"seq":3,"data":[{"id":41,"a":"\"id\":6"}]} {"id":42}"#;
        text.chunks(1).for_each(|byte| scanner.scan(&key, byte, |id| seen.push(id)));
        assert_eq!(seen, [41, 42]);
    }
}
