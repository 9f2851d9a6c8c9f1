//! One connection: handshake, subscription, then every frame is checked. Driven by readiness, never waits.

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
};

use mio::net::TcpStream;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    clock::now_us,
    mirror::{Comparison, Mirror},
    scan,
    tally::{Kind, Tally, Track},
    wire::{self, Frame, WireError},
};

/// How much is read at once. All sessions of a swarm share one such buffer.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;
/// Reads of one session before others have their turn.
const READS_MAX: usize = 4;

/// The channels of some sessions: names, and the op that subscribes to them.
#[derive(Debug)]
pub(crate) struct Channels {
    names: Vec<(Box<[u8]>, Kind)>,
    snapshot: u32,
}

impl Channels {
    /// These channels, with so many candles or trades in each snapshot.
    pub(crate) fn new(names: impl IntoIterator<Item = String>, snapshot: u32) -> Arc<Self> {
        let kind = |name: &str| match name.split_once('.') {
            Some(("market", _)) => Kind::Market,
            Some(("trades", _)) => Kind::Trades,
            _ => Kind::Other,
        };
        let names = names.into_iter().map(|name| (name.as_bytes().into(), kind(&name))).collect();
        Arc::new(Self { names, snapshot })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| std::str::from_utf8(name).unwrap_or_default())
    }

    fn subscribe(&self, since: &[Track]) -> Vec<u8> {
        let position = |(name, track): (&str, &Track)| {
            let at = serde_json::json!({"epoch": format!("{:x}", track.epoch), "seq": track.seq});
            track.is_based.then(|| (name.to_owned(), at))
        };
        let since: serde_json::Map<_, _> = self.names().zip(since).filter_map(position).collect();
        let channels: Vec<_> = self.names().collect();
        let op =
            serde_json::json!({"op": "subscribe", "channels": channels, "snapshot": self.snapshot, "since": since});
        op.to_string().into_bytes()
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// On the way to its snapshots.
    Opening,
    /// Every channel has its snapshot.
    Live,
    /// It asked to leave and waits for the server's end.
    Leaving,
}

/// What a turn of a session comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The socket is empty.
    Idle,
    /// There may be more.
    More,
    /// It is over.
    Ended,
}

/// Where a session left off.
pub(crate) type Tracks = Box<[Track]>;

/// See the module.
pub(crate) struct Session {
    socket: TcpStream,
    pub(crate) group: usize,
    pub(crate) channels: Arc<Channels>,
    pub(crate) tracks: Tracks,
    /// Where each channel was left off before this connection, if it resumes.
    since: Option<Tracks>,
    is_upgraded: bool,
    pub(crate) stage: Stage,
    /// The channel that the last event was of.
    last: usize,
    waiting: usize,
    /// The beginning of a frame whose rest has not come.
    rest: Vec<u8>,
    out: Vec<u8>,
    pub(crate) is_reading: bool,
    /// Whether it leaves as soon as it is live.
    pub(crate) is_visitor: bool,
    mirrors: Option<Vec<Mirror>>,
    comparison: Option<Comparison>,
}

/// An op other than an event.
#[derive(Deserialize)]
struct Op<'a> {
    op: &'a str,
    channel: Option<&'a str>,
    seq: Option<u64>,
    epoch: Option<&'a str>,
    recovered: Option<bool>,
    lost: Option<u64>,
    ts: Option<i64>,
    message: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Session {
    pub(crate) fn new(socket: TcpStream, group: usize, channels: Arc<Channels>, request: Vec<u8>) -> Self {
        let tracks = vec![Track::default(); channels.len()].into();
        let waiting = channels.len();
        Self {
            socket,
            group,
            channels,
            tracks,
            since: None,
            is_upgraded: false,
            stage: Stage::Opening,
            last: 0,
            waiting,
            rest: Vec::new(),
            out: request,
            is_reading: true,
            is_visitor: false,
            mirrors: None,
            comparison: None,
        }
    }

    /// Goes on from where another connection left off.
    pub(crate) fn resume(&mut self, tracks: Tracks) {
        self.since = Some(tracks);
    }

    /// Keeps its candles, if it has any, to compare them at the end.
    pub(crate) fn mirror(&mut self) {
        let has_candles = self.channels.names.iter().any(|(_, kind)| *kind == Kind::Market);
        self.mirrors = has_candles.then(|| vec![Mirror::default(); self.channels.len()]);
    }

    pub(crate) fn has_mirror(&self) -> bool {
        self.mirrors.is_some()
    }

    /// Asks for snapshots again, to compare with what it holds.
    pub(crate) fn ask_to_compare(&mut self) {
        self.comparison = Some(Comparison::default());
        self.waiting = self.channels.len();
        let op = self.channels.subscribe(&[]);
        wire::frame(wire::TEXT, &op, &mut self.out);
    }

    /// What the comparison came to, once every snapshot came.
    pub(crate) fn comparison(&self) -> Option<&Comparison> {
        self.comparison.as_ref().filter(|_| self.waiting == 0)
    }

    /// Says goodbye; the server ends the connection.
    pub(crate) fn leave(&mut self) {
        self.stage = Stage::Leaving;
        wire::frame(wire::CLOSE, &1000_u16.to_be_bytes(), &mut self.out);
    }

    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Reads and writes as far as the socket goes.
    pub(crate) fn turn(&mut self, buffer: &mut Vec<u8>, tally: &mut Tally) -> Outcome {
        let mut outcome = Outcome::Idle;
        if self.is_reading {
            match self.read(buffer, tally) {
                Ok(more) => outcome = more,
                Err(error) => {
                    if self.stage != Stage::Leaving {
                        tally.on_close(1006);
                        tally.fault(|| error.to_string());
                    }
                    return Outcome::Ended;
                }
            }
        }
        if outcome != Outcome::Ended && !self.write() {
            if self.stage != Stage::Leaving {
                tally.on_close(1006);
            }
            return Outcome::Ended;
        }
        outcome
    }

    /// False if the socket takes nothing more, ever.
    fn write(&mut self) -> bool {
        let mut written = 0;
        while let Some(bytes) = self.out.get(written..).filter(|bytes| !bytes.is_empty()) {
            match self.socket.write(bytes) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::NotConnected => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        if written == self.out.len() {
            self.out = Vec::new();
        } else {
            self.out.drain(..written);
        }
        true
    }

    fn read(&mut self, buffer: &mut Vec<u8>, tally: &mut Tally) -> Result<Outcome, WireError> {
        for _ in 0..READS_MAX {
            let held = self.rest.len();
            if buffer.len() < held + BUFFER_BYTES {
                buffer.resize(held + BUFFER_BYTES, 0);
            }
            let Some((before, room)) = buffer.split_at_mut_checked(held) else { return Ok(Outcome::Ended) };
            before.copy_from_slice(&self.rest);
            let count = match self.socket.read(room) {
                Ok(0) => {
                    if self.stage != Stage::Leaving {
                        tally.on_close(1006);
                    }
                    return Ok(Outcome::Ended);
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_pending(&error) => return Ok(Outcome::Idle),
                Err(error) => {
                    if self.stage != Stage::Leaving {
                        tally.on_close(1006);
                        tally.fault(|| error.to_string());
                    }
                    return Ok(Outcome::Ended);
                }
            };
            let now = now_us();
            let is_full = count == room.len();
            tally.counts.reads += 1;
            tally.counts.bytes += count as u64;
            let mut bytes = buffer.get(..held + count).unwrap_or_default();
            let goes_on = self.on_bytes(&mut bytes, now, tally)?;
            self.rest.clear();
            if bytes.is_empty() && self.rest.capacity() > 4096 {
                self.rest = Vec::new();
            }
            self.rest.extend_from_slice(bytes);
            if !goes_on {
                return Ok(Outcome::Ended);
            }
            if !is_full {
                // A short read has emptied the socket; what comes next makes it ready anew.
                return Ok(Outcome::Idle);
            }
        }
        Ok(Outcome::More)
    }

    /// Takes whole frames off `bytes`; false if the connection is over.
    fn on_bytes(&mut self, bytes: &mut &[u8], now: u64, tally: &mut Tally) -> Result<bool, WireError> {
        if !self.is_upgraded {
            if !wire::answer(bytes)? {
                return Ok(true);
            }
            self.is_upgraded = true;
            let op = self.channels.subscribe(self.since.as_deref().unwrap_or_default());
            wire::frame(wire::TEXT, &op, &mut self.out);
        }
        while let Some(frame) = wire::split(bytes)? {
            match frame {
                Frame::Text(text) => self.on_text(text, now, tally),
                Frame::Ping(payload) => wire::frame(wire::PONG, payload, &mut self.out),
                Frame::Pong => {}
                Frame::Close(code) => {
                    if self.stage != Stage::Leaving {
                        tally.on_close(code);
                    }
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    #[inline]
    fn on_text(&mut self, text: &[u8], now: u64, tally: &mut Tally) {
        let Some(event) = scan::event(text) else { return self.on_op(text, tally) };
        let Some((at, kind)) = self.find(event.channel) else {
            tally.fault(|| format!("an event of {}, which was not asked for", String::from_utf8_lossy(event.channel)));
            return;
        };
        let Some(track) = self.tracks.get_mut(at) else { return };
        tally.on_event(track, kind, &event, now);
        if kind == Kind::Market
            && let Some(mirrors) = &mut self.mirrors
            && let (Some(mirror), Ok(text)) = (mirrors.get_mut(at), std::str::from_utf8(event.data))
        {
            mirror.put(text);
        }
    }

    /// The place of a channel: most often the one after the last, or the last again.
    #[inline]
    fn find(&mut self, name: &[u8]) -> Option<(usize, Kind)> {
        let names = &self.channels.names;
        let next = if self.last + 1 < names.len() { self.last + 1 } else { 0 };
        let is_at = |at: usize| names.get(at).is_some_and(|(known, _)| **known == *name);
        let at = [next, self.last].into_iter().find(|at| is_at(*at));
        let at = at.or_else(|| (0..names.len()).find(|at| is_at(*at)))?;
        self.last = at;
        names.get(at).map(|(_, kind)| (at, *kind))
    }

    fn on_op(&mut self, text: &[u8], tally: &mut Tally) {
        let Ok(op) = serde_json::from_slice::<Op<'_>>(text) else {
            tally.fault(|| {
                format!("not an op: {}", String::from_utf8_lossy(text).chars().take(200).collect::<String>())
            });
            return;
        };
        let at = op.channel.and_then(|name| self.find(name.as_bytes())).map(|(at, _)| at);
        match (op.op, at) {
            ("snapshot", Some(at)) => self.on_snapshot(at, &op, tally),
            ("gap", Some(at)) => {
                if let (Some(track), Some(lost)) = (self.tracks.get_mut(at), op.lost) {
                    tally.on_lost(track, lost);
                }
            }
            ("ping", _) => {
                let pong = serde_json::json!({"op": "pong", "ts": op.ts}).to_string();
                wire::frame(wire::TEXT, pong.as_bytes(), &mut self.out);
            }
            ("error", _) => tally.fault(|| format!("refused: {}", op.message.unwrap_or_default())),
            _ => {}
        }
    }

    fn on_snapshot(&mut self, at: usize, op: &Op<'_>, tally: &mut Tally) {
        let epoch = op.epoch.and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let (Some(seq), Some(epoch), Some(track)) = (op.seq, epoch, self.tracks.get_mut(at)) else {
            tally.fault(|| "a snapshot without a position".to_owned());
            return;
        };
        let since = self.since.as_ref().and_then(|since| since.get(at)).map(|track| track.seq);
        tally.on_snapshot(track, seq, epoch, op.recovered == Some(true), since);
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 && self.stage == Stage::Opening {
            self.stage = Stage::Live;
        }
        let channels = Arc::clone(&self.channels);
        let Some((name, Kind::Market)) = channels.names.get(at).map(|(name, kind)| (name, *kind)) else { return };
        let Some(mirror) = self.mirrors.as_mut().and_then(|mirrors| mirrors.get_mut(at)) else { return };
        let candles = op.data.and_then(|data| serde_json::from_str::<Vec<&RawValue>>(data.get()).ok());
        let candles = candles.unwrap_or_default();
        match &mut self.comparison {
            Some(comparison) => mirror.compare(&String::from_utf8_lossy(name), &candles, comparison),
            None => candles.iter().for_each(|candle| mirror.put(candle.get())),
        }
    }
}

fn is_pending(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
