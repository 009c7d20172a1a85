//! The exception handler: who is told of errors that nobody awaits.
//!
//! A loop has one: what `Builder::on_error` was given, until `LoopRef::set_exception_handler` gives another. It is called
//! at once, on the loop's thread, with nothing borrowed, and sees no cancel offer. A handler that panics harms nobody:
//! the default one is told of its panic and of what it was told, and if that one panics too, stderr is.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use crate::error::panic_message;
use crate::executor::{Hidden, Lost, TaskRef};

/// An error that nobody awaits: what the exception handler is told. (asyncio: the `context` of an exception handler.)
///
/// `Display` gives all of it in one line.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut runner = ringloop::Builder::new().on_error(|error| eprintln!("{error}")).build()?;
/// runner.run(async {
///     let mut context = ringloop::ErrorContext::new("the cache could not be written");
///     context.error = Some(std::io::Error::other("disk full").to_string());
///     assert_eq!(context.to_string(), "the cache could not be written: disk full");
///     ringloop::current().call_exception_handler(&context);
/// })?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ErrorContext {
    /// What happened.
    pub message: Cow<'static, str>,
    /// The name of the task that it happened to.
    pub task: Option<String>,
    /// Where that task was made; known in debug mode.
    pub location: Option<&'static Location<'static>>,
    /// What the error or the panic says.
    pub error: Option<String>,
    /// The other end of the connection that it happened on.
    pub peer: Option<SocketAddr>,
}

impl ErrorContext {
    /// A message, and nothing else known.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        ErrorContext { message: message.into(), task: None, location: None, error: None, peer: None }
    }

    /// A panic or an error that nobody awaited, of a task or of a callback.
    fn of_loss(task: &TaskRef, lost: &Lost, ending: bool) -> Self {
        let (what, error) = match lost {
            Lost::Panic(panic) => ("panicked", panic.panic_text()),
            Lost::Error(error) => ("failed", Some(error.clone())),
        };
        let when = if ending { " while the run was ending" } else { "" };
        if task.is_hidden() {
            let message = match task.given_name() {
                Some(name) => format!("a callback of {name} panicked{when}"),
                None => format!("a callback panicked{when}"),
            };
            return ErrorContext { error, ..Self::new(message) };
        }
        ErrorContext {
            task: Some(task.name().to_string()),
            location: task.location(),
            error,
            ..Self::new(format!("it {what}{when}, and nobody awaited it"))
        }
    }

    /// The same, with what the error says.
    pub(crate) fn with_error(self, error: impl fmt::Display) -> Self {
        ErrorContext { error: Some(error.to_string()), ..self }
    }

    /// The same, with the other end of the connection, if that is known.
    pub(crate) fn with_peer(self, peer: Option<SocketAddr>) -> Self {
        ErrorContext { peer, ..self }
    }
}

impl fmt::Display for ErrorContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(task) = &self.task {
            write!(f, "task '{task}': ")?;
        }
        f.write_str(&self.message)?;
        if let Some(error) = &self.error {
            write!(f, ": {error}")?;
        }
        if let Some(peer) = self.peer {
            write!(f, " (connected with {peer})")?;
        }
        match self.location {
            Some(location) => write!(f, " (task created at {location})"),
            None => Ok(()),
        }
    }
}

/// The exception handler of a loop that was given no other: tells `tracing`, or stderr where that has no subscriber.
///
/// For handlers that do something first, and to go back: `current().set_exception_handler(default_exception_handler)`.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     ringloop::current().set_exception_handler(|context| {
///         if context.peer.is_none() {
///             ringloop::default_exception_handler(context);
///         }
///     });
/// })
/// # }
/// ```
pub fn default_exception_handler(context: &ErrorContext) {
    match tracing::dispatcher::has_been_set() {
        true => tracing::error!(target: "ringloop", "{context}"),
        false => eprintln!("ringloop: {context}"),
    }
}

/// Given to the builder: it goes to the thread that builds the loop.
pub(super) type ErrorHandler = Arc<dyn Fn(&ErrorContext) + Send + Sync>;

/// The same, on the loop's thread.
type LocalHandler = Rc<dyn Fn(&ErrorContext)>;

/// One loop's exception handler.
pub(super) struct Exceptions {
    handler: RefCell<LocalHandler>,
    /// The loop's end has begun: a loss is told as one of the end.
    ending: Cell<bool>,
}

impl Exceptions {
    pub(super) fn new(handler: Option<ErrorHandler>) -> Rc<Self> {
        let handler: LocalHandler = match handler {
            Some(handler) => Rc::new(move |context| handler(context)),
            None => Rc::new(default_exception_handler),
        };
        Rc::new(Exceptions { handler: RefCell::new(handler), ending: Cell::new(false) })
    }

    pub(super) fn set(&self, handler: impl Fn(&ErrorContext) + 'static) {
        let before = self.handler.replace(Rc::new(handler));
        drop(before);
    }

    /// From now on losses are those of tasks that the loop's end has cancelled.
    pub(super) fn begin_end(&self) {
        self.ending.set(true);
    }

    /// Tells the handler of a panic or an error that nobody awaited.
    pub(super) fn tell_loss(&self, task: &TaskRef, lost: &Lost) {
        self.tell(&ErrorContext::of_loss(task, lost, self.ending.get()));
    }

    /// Tells the handler; returns, whatever becomes of that.
    pub(super) fn tell(&self, context: &ErrorContext) {
        let _hidden = Hidden::new();
        let handler = self.handler.borrow().clone();
        // Moved in: it may have been replaced meanwhile, and then its destructor runs there.
        tell_safely(context, move |context| handler(context));
    }
}

/// Tells the builder's handler, from whatever thread.
pub(super) fn tell_from_afar(handler: &Option<ErrorHandler>, context: &ErrorContext) {
    tell_safely(context, |context| match handler {
        Some(handler) => handler(context),
        None => default_exception_handler(context),
    });
}

fn tell_safely(context: &ErrorContext, handler: impl FnOnce(&ErrorContext)) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| handler(context))) else { return };
    let both = ErrorContext::new(format!("the exception handler panicked when it was told \"{context}\""))
        .with_error(panic_message(&*payload));
    if catch_unwind(|| default_exception_handler(&both)).is_err() {
        // Without the macro, which panics where stderr is gone.
        let _ = writeln!(std::io::stderr(), "ringloop: {both}");
    }
}
