//! What is asked of a model, and what must be answered: the provider says the same each time, so every answer is checked.

use anyhow::{Context, ensure};
use memchr::memmem;
use serde_json::Value;

/// Tokens that the provider counts in every request.
pub(crate) const TOKENS_IN: u64 = 120;
/// The tokens of a whole answer.
pub(crate) const TOKENS_WHOLE: u64 = 9;
/// Pieces of a streamed answer, each of one token.
pub(crate) const PIECES: usize = 1_000;
/// The text of a whole answer.
pub(crate) const TEXT: &str = "Volume rises, and the price follows it.";
/// What each piece begins with, before its number: LiteLLM takes a model that repeats itself for broken. It is in nothing else that a
/// gateway writes.
pub(crate) const PIECE: &str = "tick";

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// An answer at once.
    Whole,
    /// An answer of [`PIECES`] pieces.
    Stream,
    /// A stream that says one piece and then nothing.
    Idle,
}

impl Ask {
    /// The word by which the provider knows what is wanted.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Whole => "all-at-once",
            Self::Stream => "piece-by-piece",
            Self::Idle => "one-piece-only",
        }
    }

    pub(crate) fn is_stream(self) -> bool {
        self != Self::Whole
    }

    /// The body of the request: a prompt of the usual length of a question about a market.
    pub(crate) fn body(self, model: &str) -> String {
        let market = "BTC 68123.45 +1.2 % 24h, volume 18234.5, funding 0.01 %, open interest rises. ".repeat(4);
        let mut body = serde_json::json!({
            "model": model,
            "messages": [
                {"role": "system", "content": "You comment on markets in a sentence."},
                {"role": "user", "content": format!("{} {market}", self.word())},
            ],
            "max_tokens": 2 * PIECES,
            "stream": self.is_stream(),
        });
        if self.is_stream()
            && let Some(body) = body.as_object_mut()
        {
            body.insert("stream_options".to_owned(), serde_json::json!({"include_usage": true}));
        }
        body.to_string()
    }

    /// How many tokens the provider counts in the answer.
    pub(crate) const fn tokens_out(self) -> u64 {
        match self {
            Self::Whole => TOKENS_WHOLE,
            Self::Stream => PIECES as u64,
            Self::Idle => 1,
        }
    }

    /// Whether `body` is the answer, with the tokens that it cost.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(self, body: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Whole => {
                let answer: Value = serde_json::from_slice(body).context("the answer is not JSON")?;
                let text = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
                ensure!(text == Some(TEXT), "the text of the answer is {text:?}");
                check_usage(&answer, TOKENS_WHOLE)
            }
            Self::Stream => {
                let pieces = pieces(body);
                ensure!(pieces == PIECES, "{pieces} pieces of {PIECES}");
                let end = body.trim_ascii_end().strip_suffix(b"data: [DONE]").context("no [DONE] at the end")?;
                let last = memmem::rfind(end, b"\"usage\"").and_then(|at| memmem::rfind(end.get(..at)?, b"data: "));
                let last = last.and_then(|at| end.get(at + 6..)).context("no usage")?;
                let last = last.split(|byte| *byte == b'\n').next().unwrap_or_default();
                check_usage(&serde_json::from_slice(last).context("the last event is not JSON")?, PIECES as u64)
            }
            Self::Idle => Ok(()),
        }
    }
}

fn check_usage(answer: &Value, output: u64) -> anyhow::Result<()> {
    let count = |name: &str| answer.pointer(&format!("/usage/{name}")).and_then(Value::as_u64);
    let (read, written) = (count("prompt_tokens"), count("completion_tokens"));
    ensure!(read == Some(TOKENS_IN) && written == Some(output), "the usage is {read:?} and {written:?} tokens");
    Ok(())
}

/// How many pieces `text` has.
pub(crate) fn pieces(text: &[u8]) -> usize {
    memmem::find_iter(text, PIECE).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_another_text_or_other_tokens_is_noticed() {
        let answer = |text: &str, tokens: u64| {
            let usage = format!(r#"{{"prompt_tokens":{TOKENS_IN},"completion_tokens":{tokens}}}"#);
            format!(r#"{{"choices":[{{"message":{{"content":"{text}"}}}}],"usage":{usage}}}"#)
        };
        assert!(Ask::Whole.check(answer(TEXT, TOKENS_WHOLE).as_bytes()).is_ok());
        assert!(Ask::Whole.check(answer("no", TOKENS_WHOLE).as_bytes()).is_err());
        assert!(Ask::Whole.check(answer(TEXT, 0).as_bytes()).is_err());
        assert!(Ask::Whole.check(b"{").is_err());
    }

    #[test]
    fn a_stream_without_a_piece_its_usage_or_its_end_is_noticed() {
        let stream = |pieces: usize, usage: &str, end: &str| {
            format!("{}{usage}{end}", format!("data: {{\"c\":\"{PIECE}\"}}\n\n").repeat(pieces))
        };
        let usage = format!("data: {{\"usage\":{{\"prompt_tokens\":{TOKENS_IN},\"completion_tokens\":{PIECES}}}}}\n\n");
        let done = "data: [DONE]\n\n";
        let check = |text: String| Ask::Stream.check(text.as_bytes());
        check(stream(PIECES, &usage, done)).unwrap();
        assert!(check(stream(PIECES - 1, &usage, done)).is_err());
        assert!(check(stream(PIECES, "", done)).is_err());
        assert!(check(stream(PIECES, &usage, "")).is_err());
    }
}
