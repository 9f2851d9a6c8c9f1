//! Memory for frames: one allocation for several of a channel, which live and die together in its log.

use bytes::{Bytes, BytesMut};

/// How large a block is. A frame that is still held keeps its whole block: so much, at the most, for each of them.
const BLOCK_BYTES: usize = 4096;

/// The rest of the block that the next frame goes into.
#[derive(Debug, Default)]
pub(crate) struct Block(BytesMut);

impl Block {
    /// A copy of `frame` that can be shared. A large one gets memory of its own, so that little of a block is lost.
    pub(crate) fn copy(&mut self, frame: &[u8]) -> Bytes {
        if frame.len() > BLOCK_BYTES / 4 {
            return Bytes::copy_from_slice(frame);
        }
        if self.0.capacity() < frame.len() {
            self.0 = BytesMut::with_capacity(BLOCK_BYTES);
        }
        self.0.extend_from_slice(frame);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_bytes_and_share_a_block() {
        let mut block = Block::default();
        let frames: Vec<_> = (0..100_usize).map(|n| vec![n as u8; n * 17]).collect();
        let copies: Vec<_> = frames.iter().map(|frame| block.copy(frame)).collect();
        assert_eq!(copies, frames);
        let neighbours = copies.windows(2).filter(|pair| pair[0].as_ptr_range().end == pair[1].as_ptr()).count();
        assert!(neighbours > 40, "{neighbours}");
        assert!(block.0.capacity() <= BLOCK_BYTES);
    }
}
