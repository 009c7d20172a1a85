//! Calls on processes: a child by its pidfd, and what a process does to itself.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::Errno;

/// Returns a descriptor that means the process with this number, and never another one. pidfd_open(2).
pub(crate) fn pidfd_open(number: u32) -> Result<OwnedFd, Errno> {
    let number = libc::pid_t::try_from(number).map_err(|_| Errno::ESRCH)?;
    // SAFETY: L1: the call takes no pointers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) })?;
    // SAFETY: D1: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends SIGKILL. pidfd_send_signal(2).
pub(crate) fn kill(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let (fd, no_info) = (pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: L1: the one pointer is null, which the call takes for "as kill(2)".
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, no_info, 0) };
    Errno::result(sent).map(drop)
}

/// Reaps a child if it has ended, and returns how. waitid(2).
///
/// # Errors
/// ECHILD: somebody else has reaped it.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Result<Option<ExitStatus>, Errno> {
    // SAFETY: P1: plain numbers; zeros say that no child has ended.
    let mut info: libc::siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
    let (fd, options) = (pidfd.as_raw_fd() as libc::id_t, libc::WEXITED | libc::WNOHANG);
    // SAFETY: L1: the place for the answer is ours and lives through the call.
    Errno::result(unsafe { libc::waitid(libc::P_PIDFD, fd, &raw mut info, options) })?;
    // SAFETY: P1: the call has filled in the fields of a child's end, or left zeros.
    let (child, status) = unsafe { (info.si_pid(), info.si_status()) };
    if child == 0 {
        return Ok(None);
    }
    // The form of wait(2), which std keeps.
    let raw = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some(ExitStatus::from_raw(raw)))
}

/// Blocks until the descriptor is readable, at most for `limit`. poll(2).
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> Result<bool, Errno> {
    let mut look = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // Rounded up: one that is woken early would ask again without a pause.
    let limit = i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    // SAFETY: L1: the one entry is ours and lives through the call.
    Ok(Errno::result(unsafe { libc::poll(&raw mut look, 1, limit) })? > 0)
}

/// Ends this process at once by SIGKILL.
pub(crate) fn kill_self() {
    // SAFETY: L1: the call takes no pointers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// Makes the file the standard input. dup2(2).
pub(crate) fn replace_stdin(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: D1: the standard input is nobody's to close, and goes on being open.
    Errno::result(unsafe { libc::dup2(file.as_raw_fd(), libc::STDIN_FILENO) }).map(drop)
}

/// Names the calling thread, for ps and top. prctl(2) `PR_SET_NAME`.
pub(crate) fn name_thread(name: &CStr) -> Result<(), Errno> {
    // SAFETY: L1: the name lives through the call.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }).map(drop)
}

#[cfg(test)]
// They are reaped by their pidfd.
#[allow(clippy::zombie_processes)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::process::Command;

    /// The oracle is what std says of the same end.
    #[test]
    fn a_child_is_reaped_with_the_status_that_std_would_give() {
        for script in ["exit 0", "exit 7", "kill -TERM $$", "kill -KILL $$"] {
            let run = || Command::new("sh").args(["-c", script]).spawn().expect("there is a shell");
            let told = run().wait().expect("std reaps it");
            let child = run();
            let pidfd = pidfd_open(child.id()).expect("it runs, or waits to be reaped");
            let limit = Duration::from_secs(60);
            assert_eq!(wait_readable(pidfd.as_fd(), limit), Ok(true), "{script}");
            assert_eq!(reap(pidfd.as_fd()), Ok(Some(told)), "{script}");
            assert_eq!(reap(pidfd.as_fd()), Err(Errno::ECHILD), "{script}: reaped once");
        }
    }

    #[test]
    fn a_child_that_runs_is_not_reaped_and_can_be_killed() {
        let child = Command::new("sleep").arg("600").spawn().expect("there is a sleep");
        let pidfd = pidfd_open(child.id()).expect("it runs");
        assert_eq!(reap(pidfd.as_fd()), Ok(None));
        assert_eq!(wait_readable(pidfd.as_fd(), Duration::ZERO), Ok(false));
        kill(pidfd.as_fd()).expect("it is ours");
        assert_eq!(wait_readable(pidfd.as_fd(), Duration::from_secs(60)), Ok(true));
        let ended = reap(pidfd.as_fd()).expect("it is ours").expect("it has ended");
        assert_eq!(ended.signal(), Some(libc::SIGKILL));
    }
}
