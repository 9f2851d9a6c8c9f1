//! A channel that is listened to: its numbering, its recent events, and which workers want it in which form.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    block::Block,
    candle::Candle,
    channel::ChannelId,
    feed_gap::FeedGap,
    frame::{Class, Form, Frame, begin_text, finish_text, text_frame},
    json::{CandleText, write_candle, write_ticker, write_trade},
    market::{Directory, Instrument, Timestamp, Trade},
    message::{Delivery, Outputs, Subscribe, WorkerId},
    number::{write_integer, write_signed},
    ticker::Ticker,
};

/// How many events can be resumed.
const LOG_EVENTS: usize = 1024;
/// How many bytes of events can be resumed, in each form.
const LOG_BYTES: usize = 512 * 1024;

/// What an event carries.
pub(crate) enum Content<'a> {
    Candle(&'a Candle),
    Trade(&'a Trade),
    Trades(&'a [Trade]),
    Ticker(&'a Ticker),
    Gap(&'a FeedGap),
}

struct Logged {
    seq: u64,
    /// A gap notice has the number of the event before it, and is told again to whoever resumes from there.
    notice: bool,
    bytes: Bytes,
}

/// One wire form of a channel.
#[derive(Default)]
struct Wire {
    /// How many subscribers each worker has.
    workers: Vec<(WorkerId, u32)>,
    /// Whether anybody ever asked: from then on its events are kept for resuming.
    used: bool,
    /// The last event before the log: resuming reaches back to it.
    base: u64,
    log: VecDeque<Logged>,
    bytes: usize,
    candle: CandleText,
}

/// See the module.
pub(crate) struct Topic {
    channel: ChannelId,
    label: Box<str>,
    /// `{"op":"event","channel":"…","seq":`
    prefix: Vec<u8>,
    name: Box<str>,
    epoch: u64,
    seq: u64,
    wires: [Wire; 2],
    idle: Option<Timestamp>,
    buffer: Vec<u8>,
    block: Block,
}

impl Topic {
    pub(crate) fn new(channel: ChannelId, directory: &Directory, epoch: u64) -> Self {
        let name = channel.name(directory);
        let label = directory.label_of(channel.label()).map_or("", |(label, _)| label);
        let prefix = format!("{{\"op\":\"event\",\"channel\":\"{name}\",\"seq\":").into_bytes();
        let wires = [Wire::default(), Wire::default()];
        let (label, name) = (label.into(), name.into());
        Self {
            channel,
            label,
            prefix,
            name,
            epoch,
            seq: 0,
            wires,
            idle: None,
            buffer: Vec::new(),
            block: Block::default(),
        }
    }

    pub(crate) fn join(&mut self, worker: WorkerId, form: Form) {
        self.idle = None;
        let seq = self.seq;
        let wire = self.wire(form);
        if !wire.used {
            wire.used = true;
            wire.base = seq;
        }
        match wire.workers.iter_mut().find(|entry| entry.0 == worker) {
            Some(entry) => entry.1 += 1,
            None => wire.workers.push((worker, 1)),
        }
    }

    pub(crate) fn leave(&mut self, worker: WorkerId, form: Form) {
        let wire = self.wire(form);
        if let Some(index) = wire.workers.iter().position(|entry| entry.0 == worker)
            && let Some(entry) = wire.workers.get_mut(index)
        {
            entry.1 -= 1;
            if entry.1 == 0 {
                wire.workers.swap_remove(index);
            }
        }
    }

    /// Starts the wait for somebody to come back, if nobody listens any more.
    pub(crate) fn idle_since(&mut self, now: Timestamp) {
        if self.wires.iter().all(|wire| wire.workers.is_empty()) && self.idle.is_none() {
            self.idle = Some(now);
        }
    }

    pub(crate) fn is_over(&self, now: Timestamp, linger: i64) -> bool {
        self.idle.is_some_and(|since| now.0 - since.0 > linger)
    }

    fn wire(&mut self, form: Form) -> &mut Wire {
        let [number, text] = &mut self.wires;
        match form {
            Form::Number => number,
            Form::Text => text,
        }
    }

    /// Numbers an event, encodes it once per used form, and hands it to each worker that wants it. Returns how many
    /// frames were encoded. A gap notice has no number of its own: it stands behind the event before it.
    pub(crate) fn publish(
        &mut self,
        class: Class,
        content: &Content<'_>,
        instrument: &Instrument,
        now: Timestamp,
        out: &mut Outputs,
    ) -> u64 {
        if !matches!(content, Content::Gap(_)) {
            self.seq += 1;
        }
        let mut count = 0;
        for form in Form::ALL {
            if !self.wire(form).used {
                continue;
            }
            count += 1;
            let frame = self.encode(class, content, instrument, form, now);
            let wire = self.wire(form);
            wire.keep(&frame);
            let mut deliver = |worker: WorkerId, frame| {
                if let Some(deliveries) = out.workers.get_mut(usize::from(worker)) {
                    deliveries.push(Delivery::Frame(frame));
                }
            };
            if let Some((last, others)) = wire.workers.split_last() {
                others.iter().for_each(|(worker, _)| deliver(*worker, frame.clone()));
                deliver(last.0, frame);
            }
        }
        count
    }

    fn encode(
        &mut self,
        class: Class,
        content: &Content<'_>,
        instrument: &Instrument,
        form: Form,
        now: Timestamp,
    ) -> Frame {
        let mut out = std::mem::take(&mut self.buffer);
        begin_text(&mut out);
        let mut data_at = 0;
        if let Content::Gap(gap) = content {
            write_gap(&mut out, gap, &self.name);
        } else {
            out.extend_from_slice(&self.prefix);
            write_integer(&mut out, self.seq);
            out.extend_from_slice(b",\"ts\":");
            write_signed(&mut out, now.millis());
            out.push(b',');
            data_at = out.len();
            out.extend_from_slice(b"\"data\":");
            if let Content::Candle(candle) = content {
                let [number, text] = &mut self.wires;
                let wire = if form == Form::Number { number } else { text };
                wire.candle.write(&mut out, candle, instrument, &self.label, form);
            } else {
                self.write(&mut out, content, instrument, form);
            }
            out.push(b'}');
        }
        let start = finish_text(&mut out);
        let bytes = self.block.copy(out.get(start..).unwrap_or_default());
        self.buffer = out;
        let body_at = 10 - start as u16;
        Frame {
            channel: self.channel,
            seq: self.seq,
            class,
            form,
            ts_encode: now.0,
            bytes,
            body_at,
            data_at: data_at.saturating_sub(start) as u16,
        }
    }

    fn write(&self, out: &mut Vec<u8>, content: &Content<'_>, instrument: &Instrument, form: Form) {
        match content {
            Content::Candle(candle) => write_candle(out, candle, instrument, &self.label, form),
            Content::Ticker(ticker) => write_ticker(out, ticker, instrument, &self.label, form),
            Content::Trade(trade) => write_trade(out, trade, instrument, form),
            Content::Trades(trades) => {
                out.push(b'[');
                for (index, trade) in trades.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_trade(out, trade, instrument, form);
                }
                out.push(b']');
            }
            Content::Gap(_) => {}
        }
    }

    /// The events after the position that a client left off at, if all of them are still there.
    pub(crate) fn recover(&mut self, wish: &Subscribe) -> Option<Delivery> {
        let since = wish.since?;
        let wire = match wish.form {
            Form::Number => &self.wires[0],
            Form::Text => &self.wires[1],
        };
        if since.epoch != self.epoch || since.seq > self.seq || since.seq < wire.base {
            return None;
        }
        let mut frames = Vec::new();
        if wish.join {
            frames.push(text_frame(&self.head(since.seq, true, b"")));
        }
        frames.extend(
            wire.log
                .iter()
                .filter(|logged| logged.seq + u64::from(logged.notice) > since.seq)
                .map(|logged| logged.bytes.clone()),
        );
        Some(self.delivery(wish, frames))
    }

    /// The present state of the channel.
    pub(crate) fn snapshot<'a>(
        &self,
        wish: &Subscribe,
        instrument: &Instrument,
        content: impl Iterator<Item = Content<'a>>,
    ) -> Delivery {
        let mut data = Vec::new();
        for item in content {
            if !data.is_empty() {
                data.push(b',');
            }
            self.write(&mut data, &item, instrument, wish.form);
        }
        self.delivery(wish, vec![text_frame(&self.head(self.seq, false, &data))])
    }

    fn delivery(&self, wish: &Subscribe, frames: Vec<Bytes>) -> Delivery {
        let (session, channel, form) = (wish.session, wish.channel, wish.form);
        Delivery::Snapshot { session, channel, form, seq: self.seq, epoch: self.epoch, frames }
    }

    fn head(&self, seq: u64, recovered: bool, data: &[u8]) -> Vec<u8> {
        let (name, epoch) = (&self.name, self.epoch);
        let mut out = format!(
            "{{\"op\":\"snapshot\",\"channel\":\"{name}\",\"epoch\":\"{epoch:x}\",\"seq\":{seq},\
             \"recovered\":{recovered},\"data\":["
        )
        .into_bytes();
        out.extend_from_slice(data);
        out.extend_from_slice(b"]}");
        out
    }
}

impl Wire {
    fn keep(&mut self, frame: &Frame) {
        self.bytes += frame.bytes.len();
        self.log.push_back(Logged { seq: frame.seq, notice: frame.data_at == 0, bytes: frame.bytes.clone() });
        while (self.log.len() > LOG_EVENTS || self.bytes > LOG_BYTES)
            && let Some(old) = self.log.pop_front()
        {
            self.bytes -= old.bytes.len();
            self.base = old.seq;
        }
    }
}

fn write_gap(out: &mut Vec<u8>, gap: &FeedGap, name: &str) {
    out.extend_from_slice(b"{\"op\":\"gap\",\"channel\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"from\":");
    write_signed(out, gap.from.millis());
    out.extend_from_slice(b",\"to\":");
    match gap.to {
        Some(to) => write_signed(out, to.millis()),
        None => out.extend_from_slice(b"null"),
    }
    if let Some((first, last)) = gap.ids {
        out.extend_from_slice(b",\"first_id\":");
        write_integer(out, first);
        out.extend_from_slice(b",\"last_id\":");
        write_integer(out, last);
    }
    out.extend_from_slice(b",\"cause\":\"");
    out.extend_from_slice(gap.cause.name().as_bytes());
    out.extend_from_slice(b"\",\"state\":\"");
    out.extend_from_slice(gap.state.name().as_bytes());
    out.extend_from_slice(b"\"}");
}
