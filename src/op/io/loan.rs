//! A descriptor that other threads work on, without a descriptor of their own.

#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, OnceLock};

/// Lends a descriptor to other threads. While a [`Loan`] is out the descriptor stays open: its owner leaves it to the last loan.
#[derive(Debug, Default)]
pub(crate) struct Lender {
    /// Where the owner leaves the descriptor; made with the first loan.
    kept: OnceCell<Arc<OnceLock<OwnedFd>>>,
}

impl Lender {
    /// Lends this descriptor, which must be given up by [`end`](Self::end).
    pub(crate) fn lend(&self, fd: BorrowedFd<'_>) -> Loan {
        Loan { fd: fd.as_raw_fd(), _kept: self.kept.get_or_init(Arc::default).clone() }
    }

    /// Whether a thread may be at work.
    pub(crate) fn is_lent(&self) -> bool {
        self.kept.get().is_some_and(|kept| Arc::strong_count(kept) > 1)
    }

    /// Gives the descriptor back to its owner; None if a thread is at work: the last of them closes it.
    pub(crate) fn end(self, fd: OwnedFd) -> Option<OwnedFd> {
        let Some(kept) = self.kept.into_inner() else { return Some(fd) };
        // It is set here and nowhere else, so nothing is refused.
        let refused = kept.set(fd).err();
        refused.or_else(|| Arc::into_inner(kept)?.into_inner())
    }
}

/// A descriptor that stays open while this lives.
#[derive(Debug)]
pub(crate) struct Loan {
    fd: RawFd,
    _kept: Arc<OnceLock<OwnedFd>>,
}

impl AsFd for Loan {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: D1: the owner does not close it before the last loan is gone.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn a_lent_descriptor_is_closed_by_who_is_last() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
        let fd = OwnedFd::from(writer);
        let lender = Lender::default();
        let loan = lender.lend(fd.as_fd());
        assert!(lender.is_lent());
        assert!(lender.end(fd).is_none(), "the loan has it now");
        std::io::Write::write_all(
            &mut std::fs::File::from(loan.as_fd().try_clone_to_owned().expect("it is open")),
            b"x",
        )
        .expect("it is open");
        drop(loan);
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut all).expect("it was closed");
        assert_eq!(all, b"x");
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn what_is_lent_no_more_comes_back() {
        let fd = OwnedFd::from(std::io::pipe().expect("a pipe can be made").1);
        let (lender, number) = (Lender::default(), fd.as_raw_fd());
        drop(lender.lend(fd.as_fd()));
        assert!(!lender.is_lent());
        assert_eq!(lender.end(fd).map(|fd| fd.as_raw_fd()), Some(number));
    }
}
