//! Ids that carry time: a simulated trade's id is the microsecond at which it was due.
//!
//! A client that reads the newest id knows since when that trade should have been there, even if the source or the server
//! fell behind: a latency that counts from it leaves no wait out.

use engine::market::Trade;

/// Gives trades their ids. Each stands for the ids since the one before, so the chain has no hole.
#[derive(Clone, Debug, Default)]
pub struct DueIds {
    /// The last id, by symbol number.
    last: Vec<u64>,
}

impl DueIds {
    /// Makes the trade's id the microsecond of its `ts_event`, or the next free one: ids of a symbol strictly rise.
    pub fn stamp(&mut self, trade: &mut Trade) {
        let index = trade.symbol.0 as usize;
        if self.last.len() <= index {
            self.last.resize(index + 1, 0);
        }
        let Some(last) = self.last.get_mut(index) else { return };
        let due = trade.ts_event.0.max(0).unsigned_abs() / 1_000;
        trade.id = due.max(*last + 1);
        trade.first_id = if *last == 0 { trade.id } else { *last + 1 };
        *last = trade.id;
    }
}
