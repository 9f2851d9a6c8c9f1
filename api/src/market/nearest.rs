//! The known names that are nearest to an unknown one.

/// Longer names are not compared.
const NAME_CHARS_MAX: usize = 40;
const SUGGESTIONS_MAX: usize = 5;

/// Up to five of `known` that differ from `name` in few letters or begin with it, the nearest first.
pub(crate) fn nearest(name: &str, known: &[String]) -> Vec<String> {
    let letters = name.chars().take(NAME_CHARS_MAX + 1).count();
    if letters == 0 || letters > NAME_CHARS_MAX {
        return Vec::new();
    }
    let far = 1 + letters / 3;
    let upper = name.to_ascii_uppercase();
    let mut ranked: Vec<(usize, &String)> = Vec::new();
    for candidate in known {
        let own = candidate.to_ascii_uppercase();
        // The venue may be left out: the part behind it is compared as well.
        let parts = [Some(own.as_str()), own.split_once(':').map(|(_, name)| name)];
        let near = |part: &str| if part.starts_with(&upper) { 1 } else { strsim::levenshtein(&upper, part) };
        let edits = parts.into_iter().flatten().map(near).min().unwrap_or(usize::MAX);
        if edits <= far {
            ranked.push((edits, candidate));
        }
    }
    ranked.sort_by_key(|(edits, name)| (*edits, name.len(), *name));
    ranked.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name.clone()).collect()
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
