//! Texts at which an answer ends, wherever its pieces are cut.

/// Holds back what may be the begin of a stop text.
pub(super) struct Stops<'a> {
    stops: &'a [String],
    held: String,
    has_stopped: bool,
}

impl<'a> Stops<'a> {
    pub(super) fn new(stops: &'a [String]) -> Self {
        Self { stops, held: String::new(), has_stopped: false }
    }

    /// Takes a piece, and gives what can be shown and whether a stop text was met. The stop text is not shown.
    pub(super) fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let found =
            self.stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.has_stopped = true;
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back and is no stop text after all.
    pub(super) fn finish(self) -> String {
        if self.has_stopped { String::new() } else { self.held }
    }
}

/// How many bytes at the end of `text` are a begin of `stop`, but not all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let begins = stop.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
    begins.filter(|at| stop.get(..*at).is_some_and(|begin| text.ends_with(begin))).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<_> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut filter = Stops::new(&stops);
        let mut all = String::new();
        for piece in pieces {
            let (text, is_stop) = filter.push(piece);
            all.push_str(&text);
            if is_stop {
                assert_eq!(filter.finish(), "");
                return (all, true);
            }
        }
        all.push_str(&filter.finish());
        (all, false)
    }

    #[test]
    fn a_stop_text_ends_the_answer_wherever_it_is_cut() {
        assert_eq!(shown(&["END"], &["one E", "N", "D two"]), ("one ".into(), true));
        assert_eq!(shown(&["END"], &["one E", "N", "O"]), ("one ENO".into(), false));
        assert_eq!(shown(&["END"], &["EEN", "D"]), ("E".into(), true));
        assert_eq!(shown(&["b", "abc"], &["a", "bc"]), ("".into(), true), "the one that begins first");
        assert_eq!(shown(&["ü!"], &["x", "ü", "?"]), ("xü?".into(), false));
        assert_eq!(shown(&[], &["a", "b"]), ("ab".into(), false));
        assert_eq!(shown(&[""], &["a"]), ("a".into(), false));
    }

    proptest! {
        #[test]
        fn prop_pieces_show_what_the_whole_shows(
            pieces in prop::collection::vec("[ab\u{e9}]{0,3}", 0..8),
            stops in prop::collection::vec("[ab\u{e9}]{1,3}", 0..3),
        ) {
            let stops: Vec<_> = stops.iter().map(String::as_str).collect();
            let whole = pieces.concat();
            let first = stops.iter().filter_map(|stop| whole.find(stop).map(|at| (at + stop.len(), at))).min();
            let got = shown(&stops, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(got.1, first.is_some());
            if let Some((end, _)) = first {
                // Of the stop texts that end first, or within the same piece, one was met: nothing after it is shown.
                prop_assert!(got.0.len() < end && whole.starts_with(&got.0));
            } else {
                prop_assert_eq!(got.0, whole);
            }
        }
    }
}
