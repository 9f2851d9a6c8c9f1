//! How many tokens a call used, in buckets that never overlap.
//!
//! Providers count in two ways: OpenAI's input includes what came from the cache and its output includes reasoning,
//! Anthropic's input excludes the cache, Gemini's output excludes reasoning. Here each token is in one bucket, so a price
//! is a sum of products and nothing is paid twice.

use serde_json::Value;

/// Bytes of a token, where nobody counted: the mean of English text in the vocabularies in use. Other languages have more
/// tokens a character and more bytes a character.
const BYTES_PER_TOKEN: u64 = 4;

/// Tokens by what they cost. The buckets are disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tokens {
    /// Read and not cached.
    pub input: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Read and written to the provider's cache.
    pub cache_write: u64,
    /// Written, without those of reasoning.
    pub output: u64,
    /// Written as reasoning, shown or hidden.
    pub reasoning: u64,
}

impl Tokens {
    /// All that was read, as OpenAI's `prompt_tokens` counts.
    #[must_use]
    pub fn input_total(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// All that was written, as OpenAI's `completion_tokens` counts.
    #[must_use]
    pub fn output_total(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }
}

/// Who counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The provider, at the end of its answer.
    Upstream,
    /// This process, with the model's own vocabulary.
    Counted,
    /// Nobody: the stream was cut or the provider was silent, and the length of the texts decides.
    Estimated,
}

/// The tokens of one attempt, and what the provider said of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// The buckets.
    pub tokens: Tokens,
    /// Who counted.
    pub source: Source,
    /// The provider's own account, to be kept beside the buckets; `null` where it gave none.
    pub raw: Value,
}

impl Usage {
    /// What an attempt used that was cut after `seen` of its usage, if any, and after `output` and `reasoning` tokens
    /// were estimated from its text.
    ///
    /// A provider that was cut may have said a placeholder (Anthropic's first count of output is about 1), so each bucket
    /// is the greater of the two. Input that the provider never counted is `input`, an estimate as well.
    #[must_use]
    pub fn cut(seen: Option<&Self>, input: u64, output: u64, reasoning: u64) -> Self {
        let estimate = Tokens { input, output, reasoning, ..Tokens::default() };
        let Some(seen) = seen else {
            return Self { tokens: estimate, source: Source::Estimated, raw: Value::Null };
        };
        let has_input = seen.tokens.input_total() > 0;
        let tokens = Tokens {
            input: if has_input { seen.tokens.input } else { input },
            output: seen.tokens.output.max(output),
            reasoning: seen.tokens.reasoning.max(reasoning),
            ..seen.tokens
        };
        Self { tokens, source: Source::Estimated, raw: seen.raw.clone() }
    }
}

/// About how many tokens a text of so many `bytes` is, rounded up: what is billed where nobody counted.
#[must_use]
pub fn estimate_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_of_a_cut_stream_does_not_make_its_text_free() {
        let tokens = Tokens { input: 90, cache_read: 10, output: 1, ..Tokens::default() };
        let seen = Usage { tokens, source: Source::Upstream, raw: Value::Null };
        let usage = Usage::cut(Some(&seen), 500, 40, 7);
        assert_eq!(usage.tokens, Tokens { input: 90, cache_read: 10, cache_write: 0, output: 40, reasoning: 7 });
        assert_eq!(usage.source, Source::Estimated);
    }

    #[test]
    fn a_cut_stream_without_any_usage_is_estimated_from_its_texts() {
        let usage = Usage::cut(None, 500, 40, 0);
        assert_eq!(usage.tokens, Tokens { input: 500, output: 40, ..Tokens::default() });
        assert_eq!((estimate_tokens(0), estimate_tokens(1), estimate_tokens(9)), (0, 1, 3));
    }
}
