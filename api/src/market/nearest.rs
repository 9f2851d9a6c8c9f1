//! The known names that are nearest to an unknown one.

/// Longer names are not compared.
const NAME_CHARS_MAX: usize = 40;
const SUGGESTIONS_MAX: usize = 5;

/// Up to five of `known` that differ from `name` in few letters or begin with it, the nearest first.
pub(crate) fn nearest(name: &str, known: &[String]) -> Vec<String> {
    let letters: Vec<char> = name.chars().take(NAME_CHARS_MAX + 1).map(|letter| letter.to_ascii_uppercase()).collect();
    if letters.is_empty() || letters.len() > NAME_CHARS_MAX {
        return Vec::new();
    }
    let far = 1 + letters.len() / 3;
    let upper: String = letters.iter().collect();
    let mut ranked: Vec<(usize, &String)> = Vec::new();
    for candidate in known {
        let own = candidate.to_ascii_uppercase();
        // The venue may be left out: the part behind it is compared as well.
        let parts = [Some(own.as_str()), own.split_once(':').map(|(_, name)| name)];
        let near = |part: &str| if part.starts_with(&upper) { 1 } else { distance(&letters, part) };
        let edits = parts.into_iter().flatten().map(near).min().unwrap_or(usize::MAX);
        if edits <= far {
            ranked.push((edits, candidate));
        }
    }
    ranked.sort_by_key(|(edits, name)| (*edits, name.len(), *name));
    ranked.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name.clone()).collect()
}

/// How many letters must be added, removed or replaced to make `right` of `left`.
fn distance(left: &[char], right: &str) -> usize {
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (index, letter) in right.chars().enumerate() {
        let mut diagonal = index;
        let mut last = index + 1;
        for (cell, own) in row.iter_mut().skip(1).zip(left) {
            let replaced = diagonal + usize::from(*own != letter);
            diagonal = *cell;
            last = replaced.min(*cell + 1).min(last + 1);
            *cell = last;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_beginnings_find_their_names_and_strangers_none() {
        let known = ["BTC", "ETH", "BTCDOM", "binance:BTCUSDT", "coinbase:BTC-USD"].map(str::to_owned);
        assert_eq!(nearest("BCT", &known), ["BTC"]);
        assert_eq!(nearest("btc", &known), ["BTC", "BTCDOM", "binance:BTCUSDT", "coinbase:BTC-USD", "ETH"]);
        assert_eq!(nearest("binance:BTCUSD", &known)[0], "binance:BTCUSDT");
        assert_eq!(nearest("BTCUSD", &known)[0], "binance:BTCUSDT");
        assert!(nearest("ZZZZZZ", &known).is_empty());
        assert!(nearest("", &known).is_empty() && nearest(&"B".repeat(41), &known).is_empty());
    }
}
