//! Context variables: what code finds without being handed it, a request's number say; each task has its own.
//!
//! A [`Context`] is a counted object that holds what is set in it. Its values are a short list which copies share until one
//! of them changes, so a copy is a count and one small allocation, and a look-up compares a few addresses: a variable is
//! known by where it lies in memory.
//!
//! Who runs now decides where a variable is looked for: the thread keeps a *level*. It names a context, or one that will
//! be made when something is set; inside a loop it names the loop's [`Host`], who finds the context of the task that is
//! polled. So a poll installs nothing and saves nothing, and what no task sets costs a task nothing.
//!
//! Invariant: no user code runs while a level is borrowed or a context is locked. Values go in and out as counted
//! references; their `Clone` and `Drop` run outside.
//!
//! Not here: which context a task has, which is the executor's.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};
use std::future::{Future, IntoFuture};
use std::io;
use std::mem;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{self, Poll};

use pin_project_lite::pin_project;

/// Declares context variables: `static NAME: ContextVar<T>;`, with a default or without one.
///
/// ```
/// ringloop::context_var! {
///     /// The request that is being answered.
///     pub static REQUEST: ContextVar<String>;
///     static LEVEL: ContextVar<u32> = 3;
/// }
/// assert_eq!((REQUEST.get(), LEVEL.get()), (None, Some(3)));
/// ```
#[macro_export]
macro_rules! context_var {
    () => {};
    ($(#[$meta:meta])* $vis:vis static $name:ident: ContextVar<$T:ty> $(; $($rest:tt)*)?) => {
        $(#[$meta])* $vis static $name: $crate::ContextVar<$T> =
            $crate::ContextVar::declared(stringify!($name), None);
        $($crate::context_var! { $($rest)* })?
    };
    ($(#[$meta:meta])* $vis:vis static $name:ident: ContextVar<$T:ty> = $default:expr $(; $($rest:tt)*)?) => {
        $(#[$meta])* $vis static $name: $crate::ContextVar<$T> =
            $crate::ContextVar::declared(stringify!($name), Some(|| $default));
        $($crate::context_var! { $($rest)* })?
    };
}

/// A variable of which each task has its own value. Declared by [`context_var!`](crate::context_var). (asyncio:
/// `contextvars.ContextVar`.)
///
/// A task begins with a copy of its creator's values; what it sets is seen by itself and by the tasks it makes later. So
/// do calls by `call_soon` and its like, and closures given to `to_thread`. Outside of a loop each thread has values of
/// its own.
///
/// Values must be `Send + Sync`: they go to other threads with `to_thread`.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::context_var! { static REQUEST: ContextVar<u32> }
/// async fn log(text: &str) -> String {
///     format!("[{}] {text}", REQUEST.get().unwrap_or_default())
/// }
/// ringloop::run(async {
///     let answers = [7, 8].map(|number| {
///         ringloop::create_task(async move {
///             REQUEST.set(number);
///             ringloop::yield_now().await;
///             log("hello").await
///         })
///     });
///     let [seven, eight] = answers;
///     assert_eq!((seven.await.unwrap(), eight.await.unwrap()), ("[7] hello".into(), "[8] hello".into()));
///     assert_eq!(REQUEST.get(), None);
/// })
/// # }
/// ```
pub struct ContextVar<T: 'static> {
    name: Name,
    default: Option<fn() -> T>,
}

/// A variable's name; its address is the variable's identity.
struct Name(&'static str);

/// A value that is set, its type forgotten.
type Value = Arc<dyn Any + Send + Sync>;

impl<T> ContextVar<T> {
    /// What `context_var!` expands to. Not for use by hand: only a static has an address of its own.
    #[doc(hidden)]
    pub const fn declared(name: &'static str, default: Option<fn() -> T>) -> Self {
        ContextVar { name: Name(name), default }
    }
}

impl<T: Send + Sync + 'static> ContextVar<T> {
    /// A clone of the value, else the default; None if there is neither.
    pub fn get(&'static self) -> Option<T>
    where
        T: Clone,
    {
        match self.value() {
            Some(value) => Some(T::clone(&value)),
            None => self.default.map(|make| make()),
        }
    }

    /// Looks at the value, else at the default, without a clone.
    ///
    /// ```
    /// ringloop::context_var! { static PATH: ContextVar<String> }
    /// PATH.set("/tmp".into());
    /// assert_eq!(PATH.with(|path| path.map(|path| path.len())), Some(4));
    /// ```
    pub fn with<R>(&'static self, look: impl FnOnce(Option<&T>) -> R) -> R {
        match self.value() {
            Some(value) => look(Some(&value)),
            None => look(self.default.map(|make| make()).as_ref()),
        }
    }

    /// Sets the value in the current context. [`reset`](Self::reset) with the token undoes it; without need of that, drop
    /// the token.
    ///
    /// Where nothing has a context, in a waker that the loop calls or late in a thread's end, the value is dropped at once.
    pub fn set(&'static self, value: T) -> Token<T> {
        let context = make();
        let before = context.exchange(&self.name, Some(Arc::new(value)));
        Token { variable: &self.name, context: Arc::downgrade(&context.0), before: before.and_then(typed) }
    }

    /// Undoes the `set` that gave the token: the value is what it was before, or is not set.
    ///
    /// # Errors
    /// The token is of another variable, or of a `set` in another context. It is in the error.
    ///
    /// ```
    /// ringloop::context_var! { static DEPTH: ContextVar<u32> }
    /// DEPTH.set(1);
    /// let token = DEPTH.set(2);
    /// assert_eq!(token.before(), Some(&1));
    /// DEPTH.reset(token).unwrap();
    /// assert_eq!(DEPTH.get(), Some(1));
    /// ```
    pub fn reset(&'static self, token: Token<T>) -> Result<(), ResetError<T>> {
        if !ptr::eq(token.variable, &self.name) {
            return Err(ResetError { token, reason: "the token is of another variable" });
        }
        match find() {
            Some(context) if ptr::eq(token.context.as_ptr(), Arc::as_ptr(&context.0)) => {
                let left = context.exchange(&self.name, token.before.map(|before| before as Value));
                drop(left);
                Ok(())
            }
            _ => Err(ResetError {
                token,
                reason: "the token is of another context: reset a variable in the task that set it",
            }),
        }
    }

    /// Runs `future` with this value: it is set while the future is polled or dropped, and otherwise what it was before. What
    /// the future sets itself stays within the scope. (asyncio, from 3.14 on: `with var.set(value):`.)
    ///
    /// # Cancellation
    /// As `future`'s; dropped half-way, the scope leaves nothing behind.
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// ringloop::context_var! { static LEVEL: ContextVar<u32> = 0 }
    /// ringloop::run(async {
    ///     let inside = LEVEL.scope(1, async {
    ///         ringloop::yield_now().await;
    ///         LEVEL.get()
    ///     });
    ///     assert_eq!((inside.await, LEVEL.get()), (Some(1), Some(0)));
    /// })
    /// # }
    /// ```
    pub fn scope<F: IntoFuture>(&'static self, value: T, future: F) -> ContextScope<T, F::IntoFuture> {
        let future = Some(future.into_future());
        ContextScope { variable: self, value: Some(Arc::new(value)), future }
    }

    fn value(&self) -> Option<Arc<T>> {
        typed(find()?.value(&self.name)?)
    }
}

impl<T> Debug for ContextVar<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ContextVar({})", self.name.0)
    }
}

/// A value as what it is: under a variable's name there are only values of its type.
fn typed<T: Send + Sync + 'static>(value: Value) -> Option<Arc<T>> {
    value.downcast().ok()
}

/// Undoes one [`ContextVar::set`], by [`ContextVar::reset`], once. Dropped, it leaves the value set.
pub struct Token<T> {
    /// Whose.
    variable: &'static Name,
    /// The context that the variable was set in.
    context: Weak<Mutex<Values>>,
    /// What was set before.
    before: Option<Arc<T>>,
}

impl<T> Token<T> {
    /// What the variable was set to before; None: it was not set. (asyncio: `Token.old_value`.)
    pub fn before(&self) -> Option<&T> {
        self.before.as_deref()
    }
}

impl<T> Debug for Token<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.variable.0)
    }
}

/// Why a [`ContextVar::reset`] was refused. (asyncio: `ValueError`.)
///
/// ```
/// ringloop::context_var! { static A: ContextVar<u8>; static B: ContextVar<u8> }
/// let token = A.set(1);
/// let refused = B.reset(token).unwrap_err();
/// assert_eq!(refused.to_string(), "the token is of another variable");
/// A.reset(refused.into_token()).unwrap();
/// ```
pub struct ResetError<T> {
    token: Token<T>,
    reason: &'static str,
}

impl<T> ResetError<T> {
    /// The token, as good as before.
    pub fn into_token(self) -> Token<T> {
        self.token
    }
}

impl<T> Debug for ResetError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetError").field("token", &self.token).field("reason", &self.reason).finish()
    }
}

impl<T> Display for ResetError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl<T> Error for ResetError<T> {}

impl<T: Send + Sync + 'static> From<ResetError<T>> for io::Error {
    fn from(error: ResetError<T>) -> io::Error {
        io::Error::other(error)
    }
}

/// The values of all context variables, for whoever runs in it: a task, a call, a closure. (asyncio:
/// `contextvars.Context`.)
///
/// Clones are the same context; [`copy`](Self::copy) makes another one with the same values. It goes to other threads, and
/// may be entered in several places at once, and again inside itself, which asyncio refuses.
///
/// ```
/// ringloop::context_var! { static USER: ContextVar<&'static str> }
/// USER.set("anna");
/// let context = ringloop::Context::current();
/// context.run(|| USER.set("berta"));
/// assert_eq!((USER.get(), context.run(|| USER.get())), (Some("anna"), Some("berta")));
/// let elsewhere = std::thread::spawn(move || context.run(|| USER.get()));
/// assert_eq!(elsewhere.join().unwrap(), Some("berta"));
/// ```
#[derive(Clone)]
pub struct Context(Arc<Mutex<Values>>);

/// What is set in a context, shared with its copies until one of them changes; None: nothing yet.
type Values = Option<Arc<Vec<Entry>>>;

/// One variable that is set.
#[derive(Clone)]
struct Entry {
    name: &'static Name,
    value: Value,
}

/// Whether this process has made a context.
static ANY: AtomicBool = AtomicBool::new(false);

impl Context {
    /// A context in which nothing is set.
    pub fn new() -> Self {
        Self::of(None)
    }

    /// A copy of the current context: what is set in either later does not show in the other. (asyncio: `copy_context()`.)
    ///
    /// The context that a task runs in, not a copy, is [`TaskRef::context`](crate::TaskRef::context).
    pub fn current() -> Self {
        inherited().unwrap_or_default()
    }

    /// Another context with the same values, at no cost that grows with them.
    pub fn copy(&self) -> Self {
        let values = self.lock().clone();
        Self::of(values)
    }

    /// Runs `function` in this context: it sees what is set here, and what it sets stays here. What it makes (tasks, calls,
    /// closures for threads) begins with a copy.
    ///
    /// A future that it returns is not polled in here: give that to a task, by
    /// [`TaskBuilder::context`](crate::TaskBuilder::context).
    pub fn run<R>(&self, function: impl FnOnce() -> R) -> R {
        run_in(Some(self.clone()), function)
    }

    /// Whether both are the same context.
    pub fn same(&self, other: &Context) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn of(values: Values) -> Self {
        // Read first: a store would take the line from the other threads each time.
        if !is_any() {
            ANY.store(true, Relaxed);
        }
        Context(Arc::new(Mutex::new(values)))
    }

    fn lock(&self) -> MutexGuard<'_, Values> {
        // Nothing under the lock can leave the values half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, name: &Name) -> Option<Value> {
        let values = self.lock();
        let entry = values.as_ref()?.iter().find(|entry| ptr::eq(entry.name, name))?;
        Some(entry.value.clone())
    }

    /// Sets a variable, or takes its value away; what was set before comes back, for the caller to drop.
    fn exchange(&self, name: &'static Name, value: Option<Value>) -> Option<Value> {
        let mut values = self.lock();
        let same = |entry: &Entry| ptr::eq(entry.name, name);
        let place = values.as_ref().and_then(|entries| entries.iter().position(same));
        // What copies share is cloned entry by entry: counts go up, and no value is dropped here.
        match (place, value) {
            (Some(place), Some(value)) => {
                let entries = Arc::make_mut(values.get_or_insert_default());
                Some(mem::replace(&mut entries[place].value, value))
            }
            (Some(place), None) => {
                Some(Arc::make_mut(values.get_or_insert_default()).swap_remove(place).value)
            }
            (None, Some(value)) => {
                Arc::make_mut(values.get_or_insert_default()).push(Entry { name, value });
                None
            }
            (None, None) => None,
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Debug for Context {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let values = self.lock().clone();
        let names = values.iter().flat_map(|entries| entries.iter()).map(|entry| entry.name.0);
        f.write_str("Context")?;
        f.debug_set().entries(names).finish()
    }
}

/// Who knows in which context a loop's thread is, where nothing else says so.
pub(crate) struct Host {
    /// The context, if there is one.
    pub(crate) find: fn() -> Option<Context>,
    /// The same, made if it is missing; None: nothing runs that could have one.
    pub(crate) make: fn() -> Option<Context>,
}

/// Where variables are looked for.
#[derive(Clone)]
enum Level {
    /// In this context; None: in one that the first `set` makes.
    Context(Option<Context>),
    /// Where the host says.
    Host(&'static Host),
}

thread_local! {
    /// Whether the level is a host. Plain data, so that each poll may ask.
    static HOSTED: Cell<bool> = const { Cell::new(false) };
    /// At first: the context of the thread.
    static LEVEL: RefCell<Level> = const { RefCell::new(Level::Context(None)) };
}

/// While it lives, another level is in force.
pub(crate) struct Entered(Level);

fn enter(level: Level) -> Entered {
    HOSTED.set(matches!(level, Level::Host(_)));
    // Late in a thread's end there is no place for it: what asks then finds nothing.
    Entered(LEVEL.try_with(|place| place.replace(level)).unwrap_or(Level::Context(None)))
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = mem::replace(&mut self.0, Level::Context(None));
        HOSTED.set(matches!(before, Level::Host(_)));
        // What goes may hold the last reference to a context: drop it outside of the borrow.
        let left = LEVEL.try_with(|place| place.replace(before));
        drop(left);
    }
}

/// Has `host` say where variables are, until what comes back is dropped.
pub(crate) fn host(host: &'static Host) -> Entered {
    enter(Level::Host(host))
}

/// Whether the host is asked now: nothing else is between it and who runs.
#[inline]
pub(crate) fn is_hosted() -> bool {
    HOSTED.get()
}

/// Runs `function` in `context`, or in one of its own, empty at first, that ends with it.
pub(crate) fn run_in<R>(context: Option<Context>, function: impl FnOnce() -> R) -> R {
    let _entered = enter(Level::Context(context));
    function()
}

/// Whether this process has made a context: as long as it has not, nobody need look for one.
#[inline]
pub(crate) fn is_any() -> bool {
    // Who was handed a context also sees that there is one.
    ANY.load(Relaxed)
}

/// A copy of the current context for something that runs later; None, and no memory, if nothing is set.
pub(crate) fn inherited() -> Option<Context> {
    if !is_any() {
        return None;
    }
    let values = find()?.lock().clone()?;
    (!values.is_empty()).then(|| Context::of(Some(values)))
}

/// Has `function` run in a copy of the context that is current now, whoever calls it, and where.
pub(crate) fn carried<R>(function: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let context = inherited();
    move || run_in(context, function)
}

fn level() -> Level {
    LEVEL.try_with(|level| level.borrow().clone()).unwrap_or(Level::Context(None))
}

/// The current context, if there is one.
fn find() -> Option<Context> {
    match level() {
        Level::Context(context) => context,
        Level::Host(host) => (host.find)(),
    }
}

/// The current context, made if it is missing.
fn make() -> Context {
    match level() {
        Level::Context(Some(context)) => context,
        Level::Context(None) => {
            let context = Context::new();
            // Nothing was there before.
            _ = LEVEL.try_with(|level| level.replace(Level::Context(Some(context.clone()))));
            context
        }
        Level::Host(host) => (host.make)().unwrap_or_default(),
    }
}

pin_project! {
    /// The future of [`ContextVar::scope`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct ContextScope<T, F>
    where
        T: 'static,
    {
        variable: &'static ContextVar<T>,
        // While the future is polled or dropped, what is set outside; else what is set inside.
        value: Option<Value>,
        // None: it has ended.
        #[pin]
        future: Option<F>,
    }

    impl<T, F> PinnedDrop for ContextScope<T, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                within(&this.variable.name, this.value, || this.future.set(None));
            }
        }
    }
}

impl<T, F: Future> Future for ContextScope<T, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        within(&this.variable.name, this.value, || {
            let future = this.future.as_mut().as_pin_mut().expect("a scope was polled after it had ended");
            let polled = future.poll(cx);
            if polled.is_ready() {
                this.future.set(None);
            }
            polled
        })
    }
}

/// Runs `function` with a variable set to what `value` holds, and holds what was set outside meanwhile.
fn within<R>(name: &'static Name, value: &mut Option<Value>, function: impl FnOnce() -> R) -> R {
    struct Exchanged<'a>(&'a Context, &'static Name, &'a mut Option<Value>);
    impl Exchanged<'_> {
        fn exchange(&mut self) {
            *self.2 = self.0.exchange(self.1, self.2.take());
        }
    }
    impl Drop for Exchanged<'_> {
        fn drop(&mut self) {
            self.exchange();
        }
    }
    let context = make();
    let mut exchanged = Exchanged(&context, name, value);
    exchanged.exchange();
    // Where nobody keeps the context, as in a waker, it is the current one at least in here.
    context.run(function)
}

#[cfg(test)]
mod tests;
