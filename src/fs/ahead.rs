//! What a cursor has read and not given out. Plain data: no file, no kernel.

/// Bytes of a file from some offset on.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// What was read; the front of it may be given out already.
    bytes: Vec<u8>,
    /// Where the first of them stands in the file. A stream counts from where it began to be read.
    offset: u64,
}

impl Ahead {
    /// What there is from `position` on.
    pub(super) fn unread(&self, position: u64) -> &[u8] {
        let skipped = position.checked_sub(self.offset).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.bytes.get(skipped..)).unwrap_or_default()
    }

    /// Adds what was read at `offset`; what stands before `position` may be forgotten. Gives memory back that is not
    /// needed any more.
    pub(super) fn add(&mut self, position: u64, offset: u64, bytes: Vec<u8>) -> Vec<u8> {
        let unread = self.unread(position).len();
        if unread == 0 || position + unread as u64 != offset {
            self.offset = offset;
            return std::mem::replace(&mut self.bytes, bytes);
        }
        self.bytes.drain(..self.bytes.len() - unread);
        self.offset = position;
        self.bytes.extend_from_slice(&bytes);
        bytes
    }

    /// Takes all from `position` on; without a copy if that is all there is.
    pub(super) fn take(&mut self, position: u64) -> Vec<u8> {
        let unread = self.unread(position).len();
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..bytes.len() - unread);
        bytes
    }

    /// Forgets everything: it is not what the file has any more.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead() -> Ahead {
        Ahead { bytes: b"0123456789".to_vec(), offset: 100 }
    }

    #[test]
    fn a_position_within_finds_the_rest_and_any_other_nothing() {
        let ahead = ahead();
        assert_eq!(ahead.unread(100), b"0123456789");
        assert_eq!(ahead.unread(107), b"789");
        for outside in [0, 99, 110, 111, u64::MAX] {
            assert_eq!(ahead.unread(outside), b"");
        }
        assert_eq!(Ahead::default().unread(0), b"");
    }

    #[test]
    fn what_follows_is_joined_and_what_was_read_is_forgotten() {
        let mut ahead = ahead();
        let memory = ahead.add(108, 110, b"abc".to_vec());
        assert_eq!((ahead.unread(108), &memory[..]), (&b"89abc"[..], &b"abc"[..]));
        assert_eq!(ahead.unread(107), b"", "that was read");
        assert_eq!(ahead.add(113, 113, b"def".to_vec()), b"89abc", "the memory is for the next read");
        assert_eq!(ahead.unread(113), b"def");
    }

    #[test]
    fn what_does_not_follow_replaces() {
        let mut ahead = ahead();
        ahead.add(108, 200, b"abc".to_vec());
        assert_eq!((ahead.unread(108), ahead.unread(200)), (&b""[..], &b"abc"[..]));
    }

    #[test]
    fn the_rest_is_taken_whole() {
        let mut whole = ahead();
        let start = whole.bytes.as_ptr();
        let taken = whole.take(100);
        assert_eq!((taken.as_ptr(), &taken[..]), (start, &b"0123456789"[..]), "no copy");
        assert_eq!(whole.unread(100), b"");
        assert_eq!(ahead().take(104), b"456789");
        assert_eq!(ahead().take(300), b"");
    }

    #[test]
    fn a_cleared_buffer_has_nothing() {
        let mut ahead = ahead();
        ahead.clear();
        assert_eq!(ahead.unread(105), b"");
    }
}
