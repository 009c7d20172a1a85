//! The words of failure: one small type for each thing that can go wrong above the kernel.
//!
//! The kernel's own refusals are `io::Error` and keep their errno; these are the words that errno does not
//! have. All of them meet in `io::Error`: each converts into it, so `?` works in a function that returns
//! `io::Result`, and none is lost on the way: [`io::Error::get_ref`] still finds the word by `downcast_ref`.
//! The kind is `TimedOut` for [`Elapsed`], `WouldBlock` for a queue that is full or empty, and `Other` for the
//! rest. `Interrupted` would read well for [`Cancelled`], but `read_exact` and its like take that kind as an
//! order to try again, and a cancelled read must not be tried again.
//!
//! What fails in user code (the `E` of a task) has no place here, and there is no umbrella enum.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

/// Defines errors that carry nothing but their name and one sentence.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident, $kind:ident, $sentence:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub struct $name;

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str($sentence)
            }
        }

        impl Error for $name {}

        impl From<$name> for io::Error {
            fn from(word: $name) -> io::Error {
                io::Error::new(ErrorKind::$kind, word)
            }
        }
    )*};
}

words! {
    /// A cancel was asked for and taken: what stood here was stopped before it had a value. (asyncio:
    /// `CancelledError`.)
    ///
    /// As an `io::Error` its kind is `Other`, never `Interrupted`, which retry loops would take as "go on".
    ///
    /// ```
    /// use ringloop::Cancelled;
    /// fn was_cancelled(error: &std::io::Error) -> bool {
    ///     error.get_ref().is_some_and(|word| word.is::<Cancelled>())
    /// }
    /// // The kernel's own ECANCELED is not our cancel.
    /// assert!(!was_cancelled(&std::io::Error::from_raw_os_error(125)));
    /// ```
    Cancelled, Other, "cancelled";

    /// A time limit ran out. As an `io::Error` its kind is `TimedOut`. (asyncio: `TimeoutError`.)
    ///
    /// ```
    /// fn at_the_limit(limit: ringloop::Elapsed) -> std::io::Error {
    ///     limit.into()
    /// }
    /// ```
    Elapsed, TimedOut, "the time limit ran out";

    /// The loop that a handle belongs to has ended, or ended before it took the call.
    ///
    /// ```
    /// fn report(closed: ringloop::LoopClosed) -> std::io::Result<()> {
    ///     Err(closed)?
    /// }
    /// ```
    LoopClosed, Other, "the event loop has ended";

    /// The promise was dropped before it was given a value, so its future will never have one.
    ///
    /// ```
    /// fn report(broken: ringloop::BrokenPromise) -> std::io::Result<()> {
    ///     Err(broken)?
    /// }
    /// ```
    BrokenPromise, Other, "the promise was dropped before it was given a value";

    /// A child of a task group has no value: it failed, was cancelled, or came when the group had closed. What it failed
    /// with is in the [`GroupError`].
    ///
    /// ```
    /// fn report(failed: ringloop::ChildFailed) -> std::io::Result<()> {
    ///     Err(failed)?
    /// }
    /// ```
    ChildFailed, Other, "the child of the task group ended without a value";

    /// The barrier was reset while this one waited at it, or it was aborted. (asyncio: `BrokenBarrierError`.)
    ///
    /// ```
    /// fn report(broken: ringloop::BrokenBarrier) -> std::io::Result<()> {
    ///     Err(broken)?
    /// }
    /// ```
    BrokenBarrier, Other, "the barrier was reset or aborted";

    /// The queue was shut down: it takes nothing more and, once it is empty, gives nothing more. (asyncio:
    /// `QueueShutDown`.)
    ///
    /// ```
    /// fn report(end: ringloop::ShutDown) -> std::io::Result<()> {
    ///     Err(end)?
    /// }
    /// ```
    ShutDown, Other, "the queue was shut down";
}

/// The text where the system gives no thread.
pub(crate) const NO_THREAD: &str = "no thread can be started for it: a limit of processes is reached \
     (ulimit -u, LimitNPROC= and TasksMax=, docker run --pids-limit)";

/// Why awaiting a task gave no value: it was cancelled, it panicked, or it could not be awaited at all.
///
/// Opaque and one word in size, so that a `Result<T, JoinError>` stays small.
///
/// ```
/// fn describe(error: ringloop::JoinError) -> String {
///     if error.is_panic() {
///         std::panic::resume_unwind(error.into_panic()) // a bug in the task is a bug here
///     }
///     format!("{error}, because {}", error.reason().unwrap_or("nobody said why"))
/// }
/// ```
pub struct JoinError(Box<End>);

/// How a task ended without a value. Each is set once, by whoever ended it, and never changes.
enum End {
    /// The executor dropped the task's future because of a cancel; with the reason given to `cancel_with`.
    Cancelled(Option<Cow<'static, str>>),
    /// The executor caught this panic. The mutex is never contended: a payload is `Send` only, and behind a
    /// mutex it may be shared.
    Panicked(Mutex<Box<dyn Any + Send>>),
    /// The task awaited itself, which would never end.
    SelfJoin,
    /// The loop ended before the task was begun or its value was handed over.
    LoopClosed,
    /// A job was not run: the executor dropped it.
    JobDropped,
    /// A job was not run: the pool refused it, for this reason.
    JobRefused(ErrorKind, String),
}

impl JoinError {
    /// The task was cancelled, with the reason that the canceller gave.
    pub(crate) fn cancelled(reason: Option<Cow<'static, str>>) -> Self {
        JoinError(Box::new(End::Cancelled(reason)))
    }

    /// The task panicked with this payload.
    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        JoinError(Box::new(End::Panicked(Mutex::new(payload))))
    }

    /// The task awaited itself.
    pub(crate) fn self_join() -> Self {
        JoinError(Box::new(End::SelfJoin))
    }

    /// The loop ended first.
    pub(crate) fn loop_closed() -> Self {
        JoinError(Box::new(End::LoopClosed))
    }

    /// A job's executor dropped it.
    pub(crate) fn job_dropped() -> Self {
        JoinError(Box::new(End::JobDropped))
    }

    /// A job's pool refused it.
    pub(crate) fn job_refused(reason: &io::Error) -> Self {
        JoinError(Box::new(End::JobRefused(reason.kind(), reason.to_string())))
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0, End::Cancelled(_))
    }

    /// Whether the task panicked; then [`into_panic`](Self::into_panic) has the payload.
    pub fn is_panic(&self) -> bool {
        matches!(*self.0, End::Panicked(_))
    }

    /// The reason that was given to `cancel_with`, if the task was cancelled and a reason was given.
    pub fn reason(&self) -> Option<&str> {
        match &*self.0 {
            End::Cancelled(reason) => reason.as_deref(),
            _ => None,
        }
    }

    /// What the task's panic said.
    pub(crate) fn panic_text(&self) -> Option<String> {
        match &*self.0 {
            End::Panicked(payload) => Some(text_of(payload)),
            _ => None,
        }
    }

    /// The payload of the task's panic, for `std::panic::resume_unwind`.
    ///
    /// # Panics
    /// If the task did not panic: ask [`is_panic`](Self::is_panic) first.
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match *self.0 {
            End::Panicked(payload) => payload.into_inner().unwrap_or_else(PoisonError::into_inner),
            _ => panic!("into_panic on a task that did not panic: ask is_panic() first ({self})"),
        }
    }
}

impl Display for JoinError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            End::Cancelled(None) => f.write_str("the task was cancelled"),
            End::Cancelled(Some(reason)) => write!(f, "the task was cancelled: {reason}"),
            End::Panicked(payload) => write!(f, "the task panicked: {}", text_of(payload)),
            End::SelfJoin => f.write_str("the task awaited itself, which would never end"),
            End::LoopClosed => f.write_str("the event loop ended before the task had a value"),
            End::JobDropped => {
                f.write_str("the job was not run: its executor dropped it, as one does that was shut down")
            }
            End::JobRefused(_, reason) => write!(f, "the job was not run: {reason}"),
        }
    }
}

impl Debug for JoinError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        let kind = match *error.0 {
            End::JobRefused(kind, _) => kind,
            _ => ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

fn text_of(payload: &Mutex<Box<dyn Any + Send>>) -> String {
    panic_message(&**payload.lock().unwrap_or_else(PoisonError::into_inner)).to_owned()
}

/// What a panic said. `panic!` makes a `&str` or a `String`; `panic_any` may throw anything.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a payload that is no text"
    }
}

/// Why `run` gave no value.
///
/// `Debug` prints the same sentence as `Display`, with the remedy in it, so that `fn main() -> Result<(),
/// RunError>` reads well when it fails.
///
/// ```
/// fn exit_code(error: &ringloop::RunError) -> i32 {
///     if error.is_interrupted() { 130 } else { 1 }
/// }
/// ```
pub struct RunError(Stop);

/// What kept `run` from a value. Each is set once, by the runner.
enum Stop {
    /// The ring could not be made; the text of the error inside has cause and remedy.
    Setup(Box<dyn Error + Send + Sync>),
    /// The ring broke during the run; how it did.
    Broken(io::Error),
    /// Ctrl-C came while the loop watched for it.
    Interrupted,
    /// The root task was cancelled, and nobody caught it; with the reason given.
    Cancelled(Option<Cow<'static, str>>),
    /// `LoopHandle::stop` came before the root task had ended.
    Stopped,
    /// The thread already runs a loop.
    AlreadyRunning,
}

impl RunError {
    /// The ring could not be made.
    pub(crate) fn setup(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        RunError(Stop::Setup(cause.into()))
    }

    /// The ring broke during the run.
    pub(crate) fn broken(cause: io::Error) -> Self {
        RunError(Stop::Broken(cause))
    }

    /// Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        RunError(Stop::Interrupted)
    }

    /// The root task was cancelled, with the reason that the canceller gave.
    pub(crate) fn cancelled(reason: Option<Cow<'static, str>>) -> Self {
        RunError(Stop::Cancelled(reason))
    }

    /// The loop was stopped.
    pub(crate) fn stopped() -> Self {
        RunError(Stop::Stopped)
    }

    /// The thread already runs a loop.
    pub(crate) fn already_running() -> Self {
        RunError(Stop::AlreadyRunning)
    }

    /// Whether the ring could not be made: the kernel, a container or a limit forbids it.
    pub fn is_setup(&self) -> bool {
        matches!(self.0, Stop::Setup(_))
    }

    /// Whether the ring broke during the run: the kernel refused to go on with it, or this process is a fork of the loop's.
    pub fn is_broken(&self) -> bool {
        matches!(self.0, Stop::Broken(_))
    }

    /// Whether Ctrl-C ended the run.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.0, Stop::Interrupted)
    }

    /// Whether the root task was cancelled, other than by Ctrl-C.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Stop::Cancelled(_))
    }

    /// Whether `LoopHandle::stop` ended the run before the root task had ended.
    pub fn is_stopped(&self) -> bool {
        matches!(self.0, Stop::Stopped)
    }
}

impl Display for RunError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Stop::Setup(cause) => Display::fmt(cause, f),
            Stop::Broken(cause) => write!(f, "the ring broke during the run: {cause}"),
            Stop::Interrupted => f.write_str("interrupted by Ctrl-C"),
            Stop::Cancelled(None) => f.write_str("the root task was cancelled"),
            Stop::Cancelled(Some(reason)) => write!(f, "the root task was cancelled: {reason}"),
            Stop::Stopped => f.write_str("the loop was stopped before the root task had ended"),
            Stop::AlreadyRunning => f.write_str(
                "this thread already runs an event loop: await the future, or create a task, instead of calling run",
            ),
        }
    }
}

impl Debug for RunError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error for RunError {
    /// The cause of the set-up error itself, whose own sentence `Display` has already said.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Stop::Setup(cause) => cause.source(),
            Stop::Broken(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<RunError> for io::Error {
    /// A set-up error keeps the kind of the kernel's refusal.
    fn from(error: RunError) -> io::Error {
        let cause = match &error.0 {
            Stop::Setup(cause) => Some(&**cause as &(dyn Error + 'static)),
            Stop::Broken(cause) => Some(cause as &(dyn Error + 'static)),
            _ => None,
        };
        let refusal = std::iter::successors(cause, |&cause| cause.source())
            .find_map(|cause| cause.downcast_ref::<io::Error>());
        let kind = refusal.map_or(ErrorKind::Other, io::Error::kind);
        io::Error::new(kind, error)
    }
}

/// Why `wait_for` gave no value: the limit came first, or the task ended without one.
///
/// ```
/// use ringloop::WaitError;
/// fn worth_a_retry(error: &WaitError) -> bool {
///     matches!(error, WaitError::Elapsed(_))
/// }
/// ```
#[derive(Debug)]
pub enum WaitError {
    /// The limit ran out; the task was cancelled and has ended.
    Elapsed(Elapsed),
    /// The task was cancelled by somebody else, or panicked.
    Join(JoinError),
}

impl Display for WaitError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Elapsed(limit) => Display::fmt(limit, f),
            WaitError::Join(error) => Display::fmt(error, f),
        }
    }
}

impl Error for WaitError {}

impl From<Elapsed> for WaitError {
    fn from(limit: Elapsed) -> Self {
        WaitError::Elapsed(limit)
    }
}

impl From<JoinError> for WaitError {
    fn from(error: JoinError) -> Self {
        WaitError::Join(error)
    }
}

impl From<WaitError> for io::Error {
    fn from(error: WaitError) -> io::Error {
        match error {
            WaitError::Elapsed(limit) => limit.into(),
            WaitError::Join(error) => error.into(),
        }
    }
}

/// Why `try_put` did not put the item into the queue; the item comes back with it. (asyncio: `QueueFull`,
/// `QueueShutDown`.)
///
/// ```
/// use ringloop::{Queue, TryPutError};
/// let queue = Queue::bounded(1);
/// assert_eq!(queue.try_put("a"), Ok(()));
/// assert_eq!(queue.try_put("b"), Err(TryPutError::Full("b")));
/// queue.shutdown();
/// assert_eq!(queue.try_put("c"), Err(TryPutError::ShutDown("c")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum TryPutError<T> {
    /// There is no room, or others wait for it already.
    Full(T),
    /// The queue was shut down.
    ShutDown(T),
}

impl<T> TryPutError<T> {
    /// The item, without the error.
    pub fn into_item(self) -> T {
        match self {
            TryPutError::Full(item) | TryPutError::ShutDown(item) => item,
        }
    }
}

impl<T> Display for TryPutError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TryPutError::Full(_) => f.write_str("the queue is full"),
            TryPutError::ShutDown(_) => Display::fmt(&ShutDown, f),
        }
    }
}

// Not derived: an item need not be `Debug`.
impl<T> Debug for TryPutError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => "Full(..)",
            TryPutError::ShutDown(_) => "ShutDown(..)",
        })
    }
}

impl<T> Error for TryPutError<T> {}

impl<T> From<TryPutError<T>> for io::Error {
    /// A full queue is `WouldBlock`; the item is dropped.
    fn from(error: TryPutError<T>) -> io::Error {
        match error {
            TryPutError::Full(_) => io::Error::new(ErrorKind::WouldBlock, error.to_string()),
            TryPutError::ShutDown(_) => ShutDown.into(),
        }
    }
}

/// Why `try_get` gave no item. (asyncio: `QueueEmpty`, `QueueShutDown`.)
///
/// ```
/// use ringloop::{Queue, TryGetError};
/// let queue = Queue::<u8>::unbounded();
/// assert_eq!(queue.try_get(), Err(TryGetError::Empty));
/// queue.shutdown();
/// assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TryGetError {
    /// There is no item, or others wait for it already.
    Empty,
    /// The queue was shut down, and there is no item.
    ShutDown,
}

impl Display for TryGetError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TryGetError::Empty => f.write_str("the queue is empty"),
            TryGetError::ShutDown => Display::fmt(&ShutDown, f),
        }
    }
}

impl Error for TryGetError {}

impl From<TryGetError> for io::Error {
    /// An empty queue is `WouldBlock`.
    fn from(error: TryGetError) -> io::Error {
        match error {
            TryGetError::Empty => io::Error::new(ErrorKind::WouldBlock, error),
            TryGetError::ShutDown => ShutDown.into(),
        }
    }
}

/// Why a task group gave no value: all that its children and its body failed with, in the order in which they did.
/// (asyncio: `ExceptionGroup`.)
///
/// Without an error and a panic in it, the group was cancelled by [`TaskGroup::cancel`](crate::TaskGroup::cancel).
///
/// ```
/// fn report(error: ringloop::GroupError<std::io::Error>) -> Result<(), std::io::Error> {
///     for error in &error.errors {
///         eprintln!("failed: {error}");
///     }
///     error.first().map_or(Ok(()), Err)
/// }
/// ```
pub struct GroupError<E> {
    /// The errors.
    pub errors: Vec<E>,
    /// The panics.
    pub panics: Vec<JoinError>,
}

impl<E> GroupError<E> {
    /// The first error, if one of the children or the body has failed with one.
    pub fn first(self) -> Option<E> {
        self.errors.into_iter().next()
    }

    /// One error for all: the first error, else the first panic, else that the group was cancelled. For callers whose errors
    /// are of the children's kind, as [`Task::flatten`](crate::Task::flatten) is for one task.
    ///
    /// ```
    /// use ringloop::{GroupError, task_group};
    /// async fn both() -> std::io::Result<()> {
    ///     let group = task_group(async |group| {
    ///         group.create_task(async { Ok(()) });
    ///         Err(std::io::Error::other("no")) // the error of one of them, or of the body
    ///     });
    ///     group.await.map_err(GroupError::flatten)
    /// }
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// assert_eq!(ringloop::run(both())?.unwrap_err().to_string(), "no");
    /// # Ok(()) }
    /// ```
    pub fn flatten(self) -> E
    where
        E: From<JoinError>,
    {
        let GroupError { errors, panics } = self;
        let panic = || panics.into_iter().next();
        let cancelled = || JoinError::cancelled(Some("its task group was cancelled".into()));
        errors.into_iter().next().unwrap_or_else(|| panic().unwrap_or_else(cancelled).into())
    }

    fn count(&self) -> usize {
        self.errors.len() + self.panics.len()
    }
}

impl<E: Display> Display for GroupError<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let first: Option<&dyn Display> = match (self.errors.first(), self.panics.first()) {
            (Some(error), _) => Some(error),
            (None, Some(panic)) => Some(panic),
            (None, None) => None,
        };
        match (first, self.count()) {
            (None, _) => f.write_str("the task group was cancelled"),
            (Some(first), 1) => write!(f, "the task group failed: {first}"),
            (Some(first), count) => write!(f, "the task group failed: {first} (and {} more)", count - 1),
        }
    }
}

impl<E: Debug> Debug for GroupError<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupError").field("errors", &self.errors).field("panics", &self.panics).finish()
    }
}

impl<E: Error + 'static> Error for GroupError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.errors.first().map(|error| error as &(dyn Error + 'static))
    }
}

impl<E: Error + Send + Sync + 'static> From<GroupError<E>> for io::Error {
    fn from(error: GroupError<E>) -> io::Error {
        io::Error::other(error)
    }
}

/// Whether an operation has ended because its loop has, and for no reason of its own.
pub(crate) fn is_end_of_loop(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|word| word.is::<LoopClosed>())
}

/// Bytes that should have been text and are not, in std's words. The bytes are no part of the error: they may be many, and
/// secret.
pub(crate) fn not_utf8() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8")
}

/// What an owned-buffer call gives: the number of bytes and the buffer, or a [`BufError`], which has the
/// buffer too.
pub type BufResult<B> = Result<(usize, B), BufError<B>>;

/// The failure of an owned-buffer call: the error, the buffer, and how far it came.
///
/// `?` in a function that returns `io::Result` keeps the error and drops the buffer.
///
/// ```
/// use ringloop::BufError;
/// fn salvage(error: BufError<Vec<u8>>) -> std::io::Result<Vec<u8>> {
///     if error.done == 0 { Err(error.into()) } else { Ok(error.into_buf()) }
/// }
/// ```
pub struct BufError<B> {
    /// What went wrong: the kernel's error, or [`Cancelled`] or [`Elapsed`] as an `io::Error`.
    pub error: io::Error,
    /// The buffer that was lent.
    pub buf: B,
    /// How many bytes were transferred before the error.
    pub done: usize,
}

impl<B> BufError<B> {
    /// Whether the call ended because a cancel was asked for. A kernel's unasked `ECANCELED` is not that.
    pub fn is_cancelled(&self) -> bool {
        self.error.get_ref().is_some_and(|word| word.is::<Cancelled>())
    }

    /// The buffer, without the error.
    pub fn into_buf(self) -> B {
        self.buf
    }
}

impl<B> Display for BufError<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} bytes)", self.error, self.done)
    }
}

// Not derived: the bytes say nothing about what went wrong, and a buffer need not be `Debug`.
impl<B> Debug for BufError<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufError")
            .field("error", &self.error)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl<B> Error for BufError<B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<B> From<BufError<B>> for io::Error {
    fn from(error: BufError<B>) -> io::Error {
        error.error
    }
}

// Errors travel: a thread that waits for a task, or an `anyhow::Error`, asks for both.
const _: fn() = || {
    fn travels<T: Send + Sync + 'static>() {}
    travels::<Cancelled>();
    travels::<Elapsed>();
    travels::<LoopClosed>();
    travels::<BrokenPromise>();
    travels::<ChildFailed>();
    travels::<BrokenBarrier>();
    travels::<ShutDown>();
    travels::<JoinError>();
    travels::<RunError>();
    travels::<WaitError>();
    travels::<GroupError<io::Error>>();
    travels::<BufError<Vec<u8>>>();
};
const _: () = assert!(size_of::<JoinError>() == size_of::<usize>());

#[cfg(test)]
mod tests {
    use super::*;

    fn holds<W: Error + 'static>(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|word| word.is::<W>())
    }

    #[test]
    fn every_word_survives_the_way_through_io_error() {
        let elapsed = io::Error::from(Elapsed);
        assert!(elapsed.kind() == ErrorKind::TimedOut && holds::<Elapsed>(&elapsed));
        let cancelled = io::Error::from(Cancelled);
        assert!(cancelled.kind() == ErrorKind::Other && holds::<Cancelled>(&cancelled));
        assert!(holds::<LoopClosed>(&LoopClosed.into()));
        assert!(holds::<BrokenPromise>(&BrokenPromise.into()));
        assert!(holds::<BrokenBarrier>(&BrokenBarrier.into()));
        assert!(holds::<ShutDown>(&ShutDown.into()));
        assert!(holds::<JoinError>(&JoinError::self_join().into()));
        let full = io::Error::from(TryPutError::Full(()));
        assert_eq!((full.kind(), full.to_string()), (ErrorKind::WouldBlock, "the queue is full".to_owned()));
        let empty = io::Error::from(TryGetError::Empty);
        assert!(empty.kind() == ErrorKind::WouldBlock && holds::<TryGetError>(&empty));
        assert!(holds::<ShutDown>(&TryPutError::ShutDown(()).into()));
        assert!(holds::<ShutDown>(&TryGetError::ShutDown.into()));
        assert!(holds::<RunError>(&RunError::interrupted().into()));
        assert!(holds::<Elapsed>(&WaitError::from(Elapsed).into()));
        assert!(holds::<JoinError>(&WaitError::from(JoinError::loop_closed()).into()));
    }

    #[test]
    fn a_join_error_tells_a_cancel_from_a_panic() {
        let cancelled = JoinError::cancelled(Some("too slow".into()));
        assert!(cancelled.is_cancelled() && !cancelled.is_panic());
        assert_eq!(cancelled.reason(), Some("too slow"));
        assert_eq!(cancelled.to_string(), "the task was cancelled: too slow");
        assert_eq!(JoinError::cancelled(None).reason(), None);

        for odd in [JoinError::self_join(), JoinError::loop_closed()] {
            assert!(!odd.is_cancelled() && !odd.is_panic() && odd.reason().is_none());
        }
    }

    #[test]
    fn a_join_error_repeats_what_the_panic_said_and_gives_the_payload_back() {
        let literal = JoinError::panicked(Box::new("boom"));
        assert!(literal.is_panic() && !literal.is_cancelled());
        assert_eq!(format!("{literal:?}"), "JoinError(the task panicked: boom)");
        assert_eq!(literal.into_panic().downcast_ref::<&str>(), Some(&"boom"));

        let formatted = JoinError::panicked(Box::new(String::from("boom 7")));
        assert_eq!(formatted.to_string(), "the task panicked: boom 7");
        let number = JoinError::panicked(Box::new(7_i32));
        assert_eq!(number.to_string(), "the task panicked: a payload that is no text");
        assert_eq!(number.into_panic().downcast_ref::<i32>(), Some(&7));
    }

    #[test]
    #[should_panic(expected = "ask is_panic() first (the task was cancelled)")]
    fn into_panic_of_a_cancelled_task_names_the_remedy() {
        JoinError::cancelled(None).into_panic();
    }

    /// Stands in for a set-up error: a sentence with the remedy, and the kernel's refusal behind it.
    #[derive(Debug)]
    struct Refused(io::Error);
    impl Display for Refused {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str("refused: allow it")
        }
    }
    impl Error for Refused {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_run_error_debugs_as_its_sentence_and_keeps_the_kind_of_the_refusal() {
        let setup = RunError::setup(Refused(ErrorKind::PermissionDenied.into()));
        assert!(setup.is_setup());
        assert_eq!(format!("{setup:?}"), "refused: allow it");
        assert_eq!(io::Error::from(setup).kind(), ErrorKind::PermissionDenied);

        let interrupted = RunError::interrupted();
        assert!(interrupted.is_interrupted() && !interrupted.is_cancelled());
        assert_eq!(io::Error::from(interrupted).kind(), ErrorKind::Other);
        let stopped = RunError::stopped();
        assert!(stopped.is_stopped() && !stopped.is_cancelled() && !stopped.is_interrupted());
        assert_eq!(
            format!("{:?}", RunError::cancelled(Some("stop".into()))),
            "the root task was cancelled: stop"
        );
        assert!(format!("{:?}", RunError::already_running()).contains("instead of calling run"));
    }

    #[test]
    fn a_group_error_says_what_came_first_and_how_much_more_there_is() {
        let errors = |count: usize| (0..count).map(|_| io::Error::other("boom")).collect();
        let none = GroupError::<io::Error> { errors: Vec::new(), panics: Vec::new() };
        assert_eq!(none.to_string(), "the task group was cancelled");
        let one = GroupError { errors: errors(1), panics: Vec::new() };
        assert_eq!(one.to_string(), "the task group failed: boom");
        let panicked = || JoinError::panicked(Box::new("bang"));
        let three = GroupError { errors: errors(2), panics: vec![panicked()] };
        assert_eq!(three.to_string(), "the task group failed: boom (and 2 more)");
        let panic = GroupError::<io::Error> { errors: Vec::new(), panics: vec![panicked()] };
        assert_eq!(panic.to_string(), "the task group failed: the task panicked: bang");
        assert!(panic.first().is_none());
        assert!(holds::<GroupError<io::Error>>(&three.into()));
    }

    #[test]
    fn a_buf_error_knows_our_cancel_from_the_kernels() {
        struct Opaque; // a buffer without Debug
        let failed = |error: io::Error| BufError { error, buf: Opaque, done: 3 };
        assert!(failed(Cancelled.into()).is_cancelled());
        assert!(!failed(Elapsed.into()).is_cancelled());
        assert!(!failed(io::Error::from_raw_os_error(125)).is_cancelled());

        let full = failed(io::Error::from_raw_os_error(28));
        assert!(full.to_string().ends_with("(after 3 bytes)"));
        assert!(full.source().is_some_and(|cause| cause.is::<io::Error>()));
        assert!(format!("{full:?}").contains("done: 3"));
        assert_eq!(io::Error::from(full).raw_os_error(), Some(28));
        let Opaque = failed(Elapsed.into()).into_buf();
    }
}
