//! What clients say: frames to ops, ops to subscriptions.

use std::{collections::HashMap, ops::ControlFlow};

use engine::{
    channel::ChannelId,
    message::{Position, Subscribe},
};
use serde_json::Value;

use crate::{
    answer::{Answer, Listed},
    codec::{self, CodecError, Received},
    protocol::{CHANNELS_MAX, Op, Request},
    session::{Paced, Subscription},
    worker::Worker,
};

/// After so many messages that are not of this protocol the connection is closed.
const FAULTS_MAX: u32 = 10;
/// Errors about single channels in the answer to one op; the rest is summed up.
const CHANNEL_ERRORS_MAX: usize = 20;

/// A client message on its way from the decoder, which borrows the session.
enum Heard {
    Request(Request),
    Ping(Vec<u8>),
    Close(Option<u16>),
}

/// A subscribe op after its names were looked up.
struct Wanted {
    since: HashMap<String, Position>,
    rate_ms: u32,
    snapshot: u16,
}

impl Worker {
    /// Takes bytes of a client in.
    pub(crate) fn on_bytes(&mut self, key: usize, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.closing.is_some() {
            // Only its close frame or the end of the stream matters now.
            return;
        }
        let mut heard = Vec::new();
        let inflater = session.wire.is_deflate.then_some(&mut self.inflater);
        let result = session.decoder.push(bytes, inflater, &mut |received| {
            heard.push(match received {
                Received::Text(text) => Heard::Request(Request::parse(text)),
                Received::Ping(payload) => Heard::Ping(payload.to_vec()),
                Received::Pong => return ControlFlow::Continue(()),
                Received::Close(code) => {
                    heard.push(Heard::Close(code));
                    return ControlFlow::Break(());
                }
            });
            ControlFlow::Continue(())
        });
        for one in heard {
            match one {
                Heard::Request(request) => self.on_request(key, request),
                Heard::Ping(payload) => self.send_control(key, codec::pong_frame(&payload)),
                Heard::Close(code) => self.close(key, code.unwrap_or(1000), ""),
            }
        }
        if let Err(error) = result {
            self.on_codec_error(key, error);
        }
    }

    fn on_codec_error(&mut self, key: usize, error: CodecError) {
        self.close(key, error.close_code(), &error.to_string());
    }

    fn answer(&mut self, key: usize, answer: &Answer) {
        self.send_control(key, answer.frame());
    }

    fn error(&mut self, key: usize, code: &'static str, message: String, channel: Option<String>, id: &Option<Value>) {
        self.answer(key, &Answer::Error { code, message, channel, id: id.clone() });
    }

    fn on_request(&mut self, key: usize, request: Request) {
        if self.sessions.get(key).is_none_or(|session| session.closing.is_some()) {
            return;
        }
        let id = request.id;
        match request.op {
            Ok(Op::Subscribe { channels, beyond, since, rate_ms, snapshot }) => {
                self.subscribe(key, channels, &Wanted { since, rate_ms, snapshot }, &id);
                self.beyond(key, beyond, &id);
            }
            Ok(Op::Unsubscribe { channels, beyond }) => {
                self.unsubscribe(key, channels, &id);
                self.beyond(key, beyond, &id);
            }
            Ok(Op::Ping { ts }) => {
                let ts = ts.unwrap_or(self.now.div_euclid(1_000_000));
                self.answer(key, &Answer::Pong { ts, id });
            }
            Ok(Op::Pong) => {}
            Ok(Op::List) => self.list(key, id),
            Err(fault) => {
                self.error(key, fault.code(), fault.to_string(), None, &id);
                let Some(session) = self.sessions.get_mut(key) else { return };
                session.faults += u32::from(fault.is_foreign());
                if session.faults >= FAULTS_MAX {
                    self.close(key, 4400, "send JSON ops: subscribe, unsubscribe, list, ping or pong");
                }
            }
        }
    }

    fn beyond(&mut self, key: usize, beyond: usize, id: &Option<Value>) {
        if beyond > 0 {
            let message = format!("{CHANNELS_MAX} channels per op; {beyond} more were not looked at");
            self.error(key, "bad_request", message, None, id);
        }
    }

    fn subscribe(&mut self, key: usize, names: Vec<String>, wanted: &Wanted, id: &Option<Value>) {
        let limit = self.context.config.limits.channels_per_connection;
        let (mut accepted, mut unknown, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            match ChannelId::parse(&name, &self.context.directory) {
                Err(error) => unknown.push((name, error)),
                Ok(channel) if accepted.iter().any(|(known, _)| *known == channel) => {}
                Ok(channel) => {
                    if self.join(key, channel, &name, wanted, limit) {
                        accepted.push((channel, name));
                    } else {
                        refused.push(name);
                    }
                }
            }
        }
        let nothing_wrong = unknown.is_empty() && refused.is_empty();
        if !accepted.is_empty() || nothing_wrong {
            let channels = accepted.into_iter().map(|(_, name)| name).collect();
            self.answer(key, &Answer::Subscribed { channels, id: id.clone() });
        }
        let more = unknown.len().saturating_sub(CHANNEL_ERRORS_MAX);
        for (name, error) in unknown.into_iter().take(CHANNEL_ERRORS_MAX) {
            let name = name.chars().take(64).collect();
            self.error(key, "unknown_channel", error.to_string(), Some(name), id);
        }
        if more > 0 {
            self.error(key, "unknown_channel", format!("{more} more channels are unknown"), None, id);
        }
        let count = refused.len();
        if let Some(first) = refused.into_iter().next() {
            let mut message = format!("{limit} channels per connection");
            if count > 1 {
                message = format!("{message}; {count} were refused, from this one on");
            }
            self.error(key, "channel_limit", message, Some(first), id);
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.subscriptions.shrink_to_fit();
        }
        self.ask_wishes(key);
    }

    /// Follows a channel, or sends a fresh snapshot if it is followed already; false if the session has too many.
    fn join(&mut self, key: usize, channel: ChannelId, name: &str, wanted: &Wanted, limit: usize) -> bool {
        let worker = self.number;
        let Some(session) = self.sessions.get_mut(key) else { return false };
        let (form, rate_ms) = (session.form, wanted.rate_ms);
        let is_new = session.find(channel).is_none();
        if is_new && session.subscriptions.len() >= limit {
            return false;
        }
        if is_new {
            let at = self.table.join(channel, form, key as u32);
            session.subscriptions.push(Subscription { channel, at });
        }
        session.paced.retain(|paced| paced.channel != channel);
        if rate_ms > 0 {
            session.paced.push(Paced::new(channel, rate_ms));
        }
        let has_wish = session.wishes.iter().any(|wish| wish.channel == channel);
        if has_wish {
            return true;
        }
        // Whoever follows already is given a snapshot, whatever it says to have seen.
        let since = wanted.since.get(name).copied().filter(|_| is_new);
        let (session_id, snapshot) = (session.id, wanted.snapshot);
        let wish = Subscribe { worker, session: session_id, channel, form, since, snapshot, join: is_new };
        session.wishes.push_back(wish);
        true
    }

    fn unsubscribe(&mut self, key: usize, names: Vec<String>, id: &Option<Value>) {
        let mut channels = Vec::new();
        let mut unknown = 0_usize;
        for name in names {
            match ChannelId::parse(&name, &self.context.directory) {
                Ok(channel) if self.leave(key, channel) => channels.push(name),
                _ => unknown += 1,
            }
        }
        self.answer(key, &Answer::Unsubscribed { channels, id: id.clone() });
        if unknown > 0 {
            let message = format!("{unknown} of these channels were not subscribed");
            self.error(key, "not_subscribed", message, None, id);
        }
        self.ask_wishes(key);
    }

    fn list(&mut self, key: usize, id: Option<Value>) {
        let Some(session) = self.sessions.get(key) else { return };
        let form = session.form;
        let followed: Vec<_> = session.subscriptions.iter().map(|entry| entry.channel).collect();
        let mut channels = Vec::with_capacity(followed.len());
        for channel in followed {
            let seq = self.position(key, channel, form);
            let Some(session) = self.sessions.get(key) else { return };
            let pending = session.outbox.as_ref().map_or(0, |outbox| outbox.pending(channel));
            let rate_ms = session.paced.iter().find(|paced| paced.channel == channel).map_or(0, |paced| paced.rate_ms);
            let channel = channel.name(&self.context.directory);
            channels.push(Listed { channel, seq, pending, rate_ms });
        }
        self.answer(key, &Answer::List { channels, id });
    }
}
