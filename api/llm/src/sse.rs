//! Server-sent events, as the [WHATWG specification](https://html.spec.whatwg.org/multipage/server-sent-events.html)
//! interprets a stream: any split of the bytes gives the same messages.

use std::{borrow::Cow, mem};

/// The longest line, and the most data of one message.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A line or a message is longer than [`MESSAGE_BYTES_MAX`]: the stream is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of the event stream is longer than {MESSAGE_BYTES_MAX} bytes")]
pub struct TooLong;

/// One message of the stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type; `message` where the stream names none.
    pub event: Cow<'a, str>,
    /// Its lines of data, joined by line feeds.
    pub data: Cow<'a, str>,
}

/// Puts messages together from bytes as they come. What is incomplete at the end of a stream is no message.
#[derive(Default)]
pub struct Parser {
    /// The line that has not ended yet.
    line: Vec<u8>,
    data: Vec<u8>,
    event: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it ends no other line.
    after_return: bool,
    /// The first line is over: no byte order mark can come.
    has_begun: bool,
}

impl Parser {
    /// Takes the next bytes and hands each message that they complete to `on_message`.
    ///
    /// # Errors
    /// [`TooLong`], from which the parser does not recover.
    pub fn push(&mut self, mut bytes: &[u8], mut on_message: impl FnMut(Message)) -> Result<(), TooLong> {
        if mem::take(&mut self.after_return) && bytes.first() == Some(&b'\n') {
            bytes = bytes.get(1..).unwrap_or_default();
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            let is_return = rest.first() == Some(&b'\r');
            bytes = rest.get(1..).unwrap_or_default();
            if is_return {
                match bytes.first() {
                    Some(b'\n') => bytes = bytes.get(1..).unwrap_or_default(),
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            if self.line.is_empty() {
                self.on_line(line, &mut on_message)?;
            } else {
                self.keep(line)?;
                let mut whole = mem::take(&mut self.line);
                self.on_line(&whole, &mut on_message)?;
                whole.clear();
                self.line = whole;
            }
        }
        self.keep(bytes)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > MESSAGE_BYTES_MAX {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn on_line(&mut self, mut line: &[u8], on_message: &mut impl FnMut(Message)) -> Result<(), TooLong> {
        if !mem::replace(&mut self.has_begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(on_message);
            return Ok(());
        }
        let (name, value) = line.split_at(memchr::memchr(b':', line).unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.data.len() + value.len() > MESSAGE_BYTES_MAX {
                    return Err(TooLong);
                }
                if mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.event.clear();
                self.event.extend_from_slice(value);
            }
            // Comments keep the connection alive; ids and waits are for clients that come back, which nobody does here.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, on_message: &mut impl FnMut(Message)) {
        if mem::take(&mut self.has_data) {
            let event = if self.event.is_empty() { "message".into() } else { String::from_utf8_lossy(&self.event) };
            on_message(Message { event, data: String::from_utf8_lossy(&self.data) });
        }
        self.data.clear();
        self.event.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for chunk in chunks {
            parser.push(chunk, |message| found.push((message.event.into(), message.data.into()))).unwrap();
        }
        found
    }

    fn check(stream: &str, want: &[(&str, &str)]) {
        let want: Vec<_> = want.iter().map(|(event, data)| ((*event).to_owned(), (*data).to_owned())).collect();
        assert_eq!(messages([stream.as_bytes()]), want, "{stream:?}");
        assert_eq!(messages(stream.as_bytes().chunks(1)), want, "byte by byte: {stream:?}");
    }

    #[test]
    fn the_examples_of_the_specification_are_read_as_it_says() {
        check("data: YHOO\ndata: +2\ndata: 10\n\n", &[("message", "YHOO\n+2\n10")]);
        check(
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
            &[("message", "first event"), ("message", "second event")],
        );
        check("data\n\ndata\ndata\n\ndata:", &[("message", ""), ("message", "\n")]);
        check("data:test\n\ndata: test\n\n", &[("message", "test"), ("message", "test")]);
        check(
            "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
            &[("add", "73857293"), ("remove", "2153"), ("add", "113411")],
        );
    }

    #[test]
    fn lines_end_with_a_feed_a_return_or_both() {
        check("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &[("message", "a"), ("message", "b"), ("message", "c")]);
        check("data: a\r\ndata: b\r\n\r\n", &[("message", "a\nb")]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once_and_an_unknown_field_always() {
        check("\u{feff}data: a\n\nfield: x\n: ping\n\n\u{feff}data: b\n\n", &[("message", "a")]);
    }

    #[test]
    fn an_event_without_data_is_none_and_leaves_no_type_behind() {
        check("event: ping\n\ndata: a\n\n", &[("message", "a")]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_not_refused() {
        assert_eq!(messages([&b"data: \xFF\n\n"[..]]), [("message".to_owned(), "\u{fffd}".to_owned())]);
    }

    #[test]
    fn a_line_or_a_message_without_end_is_refused() {
        let half = vec![b'x'; MESSAGE_BYTES_MAX / 2 + 1];
        let mut parser = Parser::default();
        assert_eq!(parser.push(&half, |_| {}), Ok(()));
        assert_eq!(parser.push(&half, |_| {}), Err(TooLong));

        let mut parser = Parser::default();
        let line = [b"data: ", &half[..], b"\n"].concat();
        assert_eq!(parser.push(&line, |_| {}), Ok(()));
        assert_eq!(parser.push(&line, |_| {}), Err(TooLong));
    }

    proptest! {
        #[test]
        fn prop_any_split_of_the_bytes_gives_the_same_messages(
            lines in prop::collection::vec(r"(data|event|id|)(:| |: )?[a-c\u{e9}]{0,3}(\n|\r|\r\n)", 0..12),
            cuts in prop::collection::vec(0usize..200, 0..6),
        ) {
            let stream = lines.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            let mut from = 0;
            let mut chunks = Vec::new();
            for cut in cuts.into_iter().chain([stream.len()]) {
                chunks.push(&stream[from..cut]);
                from = cut;
            }
            prop_assert_eq!(messages(chunks), messages([&stream[..]]));
        }
    }
}
