//! Each second: revoked keys, silent clients, stuck sockets, pings.

use bytes::Bytes;

use crate::{
    answer::Answer,
    auth::ConnectionPermit,
    codec,
    session::{Closing, Session},
    worker::Worker,
};

const MILLI: i64 = 1_000_000;
/// The reason of close code 4408, within the 123 bytes of a close frame.
const SLOW: &str = "slow consumer; resume with since: the epoch and your last seq of each channel";

const REVOKED: &str = "the key was revoked or has expired";

/// What a session needs this second.
enum Due {
    Drop,
    Close(u16, &'static str),
    Ping,
}

impl Worker {
    /// Looks at every session.
    pub(crate) fn on_second(&mut self) {
        let mut due = Vec::new();
        let mut outbox_bytes = 0_i64;
        let authenticator = &self.context.authenticator;
        for (key, session) in &mut self.sessions {
            if let Some(outbox) = &mut session.outbox {
                outbox_bytes += i64::try_from(outbox.bytes()).unwrap_or(0);
                let counts = outbox.take_counts();
                self.context.metrics.conflated.inc_by(counts.conflated);
                self.context.metrics.events_lost.inc_by(counts.lost);
            }
            let interval = self.context.config.ping_interval_ms.saturating_mul(MILLI);
            let deadline = self.context.config.write_deadline_ms.saturating_mul(MILLI);
            if let Some(Closing { until, .. }) = &session.closing {
                if self.now >= *until {
                    due.push((key, Due::Drop));
                }
            } else if session.permit.as_ref().is_some_and(|permit| !authenticator.is_valid(permit.key())) {
                due.push((key, Due::Close(4401, REVOKED)));
            } else if session.outbox.as_ref().is_some_and(|outbox| outbox.is_stuck(self.now, deadline)) {
                due.push((key, Due::Close(4408, SLOW)));
            } else if self.now - session.alive_at > interval.saturating_mul(2) {
                due.push((key, Due::Close(4000, "no answer to pings")));
            } else if self.now - session.pinged_at >= interval {
                session.pinged_at = self.now;
                due.push((key, Due::Ping));
            }
        }
        self.context.metrics.outbox_bytes.inc_by(outbox_bytes - self.told_outbox);
        self.told_outbox = outbox_bytes;
        self.carry_out(due);
    }

    /// Closes the sessions of keys that are no good any more, if any may have changed.
    pub(crate) fn look_at_keys(&mut self) {
        let authenticator = &self.context.authenticator;
        let changes = authenticator.changes();
        if std::mem::replace(&mut self.key_changes, changes) == changes {
            return;
        }
        let is_over = |session: &Session| {
            let key = session.permit.as_ref().filter(|_| session.closing.is_none()).map(ConnectionPermit::key);
            key.is_some_and(|key| !authenticator.is_valid(key))
        };
        let over: Vec<_> = self.sessions.iter().filter(|(_, session)| is_over(session)).map(|(key, _)| key).collect();
        self.carry_out(over.into_iter().map(|key| (key, Due::Close(4401, REVOKED))).collect());
        self.flush();
    }

    fn carry_out(&mut self, due: Vec<(usize, Due)>) {
        let op = Answer::Ping { ts: self.now.div_euclid(MILLI) }.frame();
        let ping = Bytes::from([&op[..], &codec::ping_frame()].concat());
        for (key, due) in due {
            match due {
                Due::Drop => self.drop_session(key),
                Due::Ping => self.send_control(key, ping.clone()),
                Due::Close(code, reason) => {
                    let session = self.sessions.get_mut(key);
                    if let Some(outbox) = session.and_then(|session| session.outbox.as_mut()) {
                        outbox.abandon();
                    }
                    match code {
                        4408 => _ = self.context.metrics.slow_closes.inc(),
                        _ => self.context.metrics.on_refused(code),
                    }
                    self.close(key, code, reason);
                    self.drain(key);
                }
            }
        }
    }
}
