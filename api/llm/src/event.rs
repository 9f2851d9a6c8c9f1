//! What an answer is made of, and its fold to a whole.

use serde_json::Value;

use crate::{request::ToolCall, usage::Usage};

/// The most calls of tools in one answer.
pub const TOOL_CALLS_MAX: usize = 128;

/// A piece of an answer. A whole answer that was not streamed is the same events, in bigger pieces.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The provider began: its id of the answer and the model that it names.
    Started {
        /// The provider's id of this answer.
        id: Option<String>,
        /// The model as the provider names it.
        model: Option<String>,
    },
    /// More of the text.
    Text(String),
    /// More of why the model will not answer, in its own words.
    Refusal(String),
    /// More of the reasoning.
    Thought(Thought),
    /// More of the call of a tool.
    ToolCall(ToolDelta),
    /// What `logprobs` of OpenAI's choice says of this piece, as it came.
    Logprobs(Value),
    /// Tokens used so far; the last one counts.
    Usage(Usage),
    /// Why the model stopped.
    Finish(Finish),
}

impl Event {
    /// Whether a client sees something of it. From the first such event on nothing can be taken back.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        !matches!(self, Self::Started { .. } | Self::Usage(_))
    }
}

/// A piece of reasoning. A provider that signs its reasoning wants it back unchanged in the next turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thought {
    /// Text, and the signature that ends it.
    Text {
        /// The text.
        text: String,
        /// The provider's seal on the whole of the text since the last seal.
        signature: Option<String>,
    },
    /// Reasoning that the provider keeps to itself.
    Sealed(String),
}

/// A piece of the call of a tool: the first one of an index has `id` and `name`, later ones more of the arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolDelta {
    /// Which of the calls of this answer, from zero.
    pub index: usize,
    /// The call's id.
    pub id: Option<String>,
    /// The tool's name.
    pub name: Option<String>,
    /// More of the arguments, a JSON text.
    pub arguments: String,
    /// Gemini's seal on the reasoning behind the call.
    pub signature: Option<String>,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It had said all, or met a stop sequence.
    Stop,
    /// It reached the most tokens that it may write.
    Length,
    /// It waits for the results of its calls.
    ToolCalls,
    /// It was stopped by the provider's filter, or refused.
    ContentFilter,
}

impl Finish {
    /// OpenAI's `finish_reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// The provider's id.
    pub id: Option<String>,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// The text; `None` where there was none, as beside calls of tools.
    pub text: Option<String>,
    /// Why the model will not answer.
    pub refusal: Option<String>,
    /// The reasoning.
    pub thoughts: Vec<Thought>,
    /// The calls of tools.
    pub tool_calls: Vec<ToolCall>,
    /// `logprobs` in OpenAI's shape, pieces joined.
    pub logprobs: Option<Value>,
    /// The tokens.
    pub usage: Option<Usage>,
    /// Why it stopped; `None` while it has not.
    pub finish: Option<Finish>,
}

impl Completion {
    /// Adds `event`. Calls beyond [`TOOL_CALLS_MAX`] are left out.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Started { id, model } => {
                (self.id, self.model) = (id.or(self.id.take()), model.or(self.model.take()))
            }
            Event::Text(text) => self.text.get_or_insert_default().push_str(&text),
            Event::Refusal(text) => self.refusal.get_or_insert_default().push_str(&text),
            Event::Thought(thought) => self.think(thought),
            Event::ToolCall(delta) => self.call(delta),
            Event::Logprobs(more) => join_logprobs(&mut self.logprobs, more),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Finish(finish) => self.finish = Some(finish),
        }
    }

    /// The reasoning as one text; `None` where none was shown.
    #[must_use]
    pub fn reasoning(&self) -> Option<String> {
        let text: String = self
            .thoughts
            .iter()
            .filter_map(|thought| match thought {
                Thought::Text { text, .. } => Some(text.as_str()),
                Thought::Sealed(_) => None,
            })
            .collect();
        (!text.is_empty()).then_some(text)
    }

    fn think(&mut self, thought: Thought) {
        match (self.thoughts.last_mut(), thought) {
            (Some(Thought::Text { text, signature: open @ None }), Thought::Text { text: more, signature }) => {
                text.push_str(&more);
                *open = signature;
            }
            (_, thought) => self.thoughts.push(thought),
        }
    }

    fn call(&mut self, delta: ToolDelta) {
        if delta.index >= TOOL_CALLS_MAX {
            return;
        }
        if self.tool_calls.len() <= delta.index {
            self.tool_calls.resize_with(delta.index + 1, ToolCall::default);
        }
        let Some(call) = self.tool_calls.get_mut(delta.index) else { return };
        if let Some(id) = delta.id {
            call.id = id;
        }
        if let Some(name) = delta.name {
            call.name.push_str(&name);
        }
        call.arguments.push_str(&delta.arguments);
        call.signature = delta.signature.or(call.signature.take());
    }
}

/// OpenAI's pieces are objects of lists; the whole is an object of the joined lists.
fn join_logprobs(whole: &mut Option<Value>, more: Value) {
    let Some(Value::Object(whole)) = whole else {
        *whole = Some(more);
        return;
    };
    let Value::Object(more) = more else { return };
    for (name, more) in more {
        match (whole.get_mut(&name), more) {
            (Some(Value::Array(list)), Value::Array(mut more)) => list.append(&mut more),
            (Some(Value::Null) | None, more) => drop(whole.insert(name, more)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole(events: impl IntoIterator<Item = Event>) -> Completion {
        events.into_iter().fold(Completion::default(), |mut whole, event| {
            whole.push(event);
            whole
        })
    }

    #[test]
    fn pieces_of_two_calls_come_together_by_their_index() {
        let piece = |index, id: Option<&str>, name: Option<&str>, arguments: &str| {
            let (id, name) = (id.map(Into::into), name.map(Into::into));
            Event::ToolCall(ToolDelta { index, id, name, arguments: arguments.into(), signature: None })
        };
        let whole = whole([
            piece(0, Some("a"), Some("candles"), ""),
            piece(1, Some("b"), Some("news"), "{}"),
            piece(0, None, None, "{\"symbol\":"),
            piece(0, None, None, "\"BTC\"}"),
            piece(TOOL_CALLS_MAX, Some("c"), Some("too many"), ""),
        ]);
        let names: Vec<_> = whole.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(names, [("a", "candles", "{\"symbol\":\"BTC\"}"), ("b", "news", "{}")]);
    }

    #[test]
    fn a_signature_ends_a_thought_and_the_next_text_is_another() {
        let text = |text: &str, signature: Option<&str>| {
            Event::Thought(Thought::Text { text: text.into(), signature: signature.map(Into::into) })
        };
        let whole = whole([
            text("one ", None),
            text("two", None),
            text("", Some("seal")),
            Event::Thought(Thought::Sealed("x".into())),
            text("three", None),
        ]);
        assert_eq!(whole.thoughts.len(), 3);
        assert_eq!(whole.thoughts[0], Thought::Text { text: "one two".into(), signature: Some("seal".into()) });
        assert_eq!(whole.reasoning().as_deref(), Some("one twothree"));
    }

    #[test]
    fn log_probabilities_of_pieces_are_joined_to_one_list() {
        let whole = whole([
            Event::Logprobs(json!({"content": [1], "refusal": null})),
            Event::Logprobs(json!({"content": [2], "refusal": null})),
        ]);
        assert_eq!(whole.logprobs, Some(json!({"content": [1, 2], "refusal": null})));
    }
}
