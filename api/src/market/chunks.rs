//! A body that is written as it is sent: rows wait packed, and one chunk of text exists at a time.

use std::vec;

use bytes::Bytes;

/// A chunk ends with the row that reaches this: large enough for few writes, small enough for the cache.
const CHUNK_BYTES: usize = 64 << 10;
/// Room for the row that goes beyond.
const ROW_BYTES: usize = 1 << 10;

/// Writes rows of one kind in one format.
pub(crate) trait Encode<R> {
    /// What stands before the rows.
    fn begin(&mut self, out: &mut Vec<u8>);
    /// One row.
    fn row(&mut self, out: &mut Vec<u8>, row: &R);
    /// What stands behind them.
    fn end(&mut self, out: &mut Vec<u8>);
}

/// The chunks of a page.
pub(crate) struct Chunks<R, E> {
    rows: vec::IntoIter<R>,
    encoder: E,
    stage: Stage,
}

#[derive(PartialEq)]
enum Stage {
    Begin,
    Rows,
    Done,
}

impl<R, E: Encode<R>> Chunks<R, E> {
    /// The chunks of `rows` as `encoder` writes them.
    pub(crate) fn new(rows: Vec<R>, encoder: E) -> Self {
        Self { rows: rows.into_iter(), encoder, stage: Stage::Begin }
    }
}

impl<R, E: Encode<R>> Iterator for Chunks<R, E> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(CHUNK_BYTES + ROW_BYTES);
        match self.stage {
            Stage::Begin => self.encoder.begin(&mut out),
            Stage::Rows => {}
            Stage::Done => return None,
        }
        self.stage = Stage::Rows;
        while out.len() < CHUNK_BYTES {
            let Some(row) = self.rows.next() else {
                self.encoder.end(&mut out);
                self.stage = Stage::Done;
                break;
            };
            self.encoder.row(&mut out, &row);
        }
        Some(out.into())
    }
}
