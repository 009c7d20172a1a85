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
mod tests {
    use super::*;
    use std::future::pending;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::Waker;
    use std::thread;

    context_var! {
        /// Has neither a default nor a value at first.
        pub static NAME: ContextVar<String>;
        static LEVEL: ContextVar<u32> = 3;
        static NESTED: ContextVar<Vec<Vec<u8>>>
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut task::Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_variable_has_its_default_until_it_is_set() {
        assert_eq!((NAME.get(), LEVEL.get(), NESTED.get()), (None, Some(3), None));
        NAME.set("n".into());
        LEVEL.set(4);
        assert_eq!((NAME.get().as_deref(), LEVEL.get(), NESTED.get()), (Some("n"), Some(4), None));
        assert!(NESTED.with(|value| value.is_none()) && LEVEL.with(|value| value == Some(&4)));
    }

    #[test]
    fn copies_share_their_values_until_one_changes_and_see_no_change_of_the_other() {
        let context = Context::new();
        context.run(|| LEVEL.set(1));
        let copy = context.copy();
        let shared = |a: &Context, b: &Context| match (&*a.lock(), &*b.lock()) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        assert!(shared(&context, &copy) && !context.same(&copy) && context.same(&context.clone()));
        context.run(|| LEVEL.set(2));
        copy.run(|| NAME.set("copy".into()));
        assert!(!shared(&context, &copy));
        assert_eq!(context.run(|| (LEVEL.get(), NAME.get())), (Some(2), None));
        assert_eq!(copy.run(|| (LEVEL.get(), NAME.get())), (Some(1), Some("copy".into())));
        assert_eq!(LEVEL.get(), Some(3), "nor does it show outside");
    }

    /// CTX-06
    #[test]
    fn a_token_gives_the_old_value_back_and_only_where_it_was_set() {
        context_var! { static OTHER: ContextVar<u32> }
        let first = LEVEL.set(1);
        let second = LEVEL.set(2);
        assert_eq!((first.before(), second.before()), (None, Some(&1)));
        LEVEL.reset(second).expect("it is of this variable and context");
        assert_eq!(LEVEL.get(), Some(1));

        let refused = OTHER.reset(first).expect_err("it is of another variable");
        assert_eq!(refused.to_string(), "the token is of another variable");
        let first = refused.into_token();
        let refused = Context::current().run(|| LEVEL.reset(first)).expect_err("it is of another context");
        assert!(io::Error::from(refused).to_string().contains("in the task that set it"));
        let elsewhere = Context::new().run(|| LEVEL.set(5));
        let refused = LEVEL.reset(elsewhere).expect_err("its context is gone");
        assert!(Context::new().run(|| LEVEL.reset(refused.into_token())).is_err(), "and stays so");
        assert_eq!(LEVEL.get(), Some(1), "what is refused changes nothing");
    }

    #[test]
    fn a_token_of_the_first_value_takes_it_away() {
        let context = Context::new();
        context.run(|| {
            let token = NAME.set("n".into());
            LEVEL.set(1);
            NAME.reset(token).expect("it is of this variable and context");
            assert_eq!((NAME.get(), LEVEL.get()), (None, Some(1)));
        });
    }

    #[test]
    fn runs_nest_and_end_also_by_a_panic() {
        let (outer, inner) = (Context::new(), Context::new());
        inner.run(|| LEVEL.set(2));
        outer.run(|| {
            LEVEL.set(1);
            let thrown = catch_unwind(AssertUnwindSafe(|| {
                inner.run(|| {
                    assert_eq!(outer.run(|| LEVEL.get()), Some(1), "again inside itself");
                    assert_eq!(LEVEL.get(), Some(2));
                    panic!("as expected");
                })
            }));
            assert!(thrown.is_err());
            assert_eq!(LEVEL.get(), Some(1));
        });
        assert_eq!(LEVEL.get(), Some(3));
    }

    #[test]
    fn a_scope_sets_its_value_during_its_polls_and_keeps_what_is_set_inside() {
        LEVEL.set(0);
        let mut polls = 0;
        let mut scope = pin!(LEVEL.scope(
            1,
            std::future::poll_fn(|_| {
                polls += 1;
                let found = LEVEL.get();
                LEVEL.set(10 * polls);
                NAME.set("inside".into());
                if polls == 3 { Poll::Ready(found) } else { Poll::Pending }
            })
        ));
        assert!(poll(scope.as_mut()).is_pending());
        assert_eq!((LEVEL.get(), NAME.get().as_deref()), (Some(0), Some("inside")), "only its own variable");
        LEVEL.set(7);
        assert!(poll(scope.as_mut()).is_pending());
        assert_eq!(LEVEL.get(), Some(7), "what is set outside stays outside");
        assert_eq!(poll(scope.as_mut()), Poll::Ready(Some(20)));
        assert_eq!(LEVEL.get(), Some(7));
    }

    #[test]
    fn scopes_nest_and_leave_nothing_where_nothing_was() {
        Context::new().run(|| {
            let inner = async { (NAME.get(), LEVEL.scope(2, async { LEVEL.get() }).await, LEVEL.get()) };
            let mut outer = pin!(LEVEL.scope(1, NAME.scope("n".into(), inner)));
            assert_eq!(poll(outer.as_mut()), Poll::Ready((Some("n".into()), Some(2), Some(1))));
            assert_eq!((NAME.get(), LEVEL.get()), (None, Some(3)));
            assert_eq!(format!("{:?}", Context::current()), "Context{}");
        });
    }

    /// What is there when it is dropped.
    struct AtDrop<'a>(&'a Cell<Option<u32>>);

    impl Drop for AtDrop<'_> {
        fn drop(&mut self) {
            self.0.set(LEVEL.get());
        }
    }

    #[test]
    fn a_scope_that_ends_in_any_way_drops_its_future_inside_and_restores() {
        LEVEL.set(0);
        let seen = Cell::new(None);
        let at_drop = AtDrop(&seen);
        assert!(poll(pin!(LEVEL.scope(1, async move { drop(at_drop) }))).is_ready());
        assert_eq!((seen.take(), LEVEL.get()), (Some(1), Some(0)), "ready");

        let at_drop = AtDrop(&seen);
        let mut scope = Box::pin(LEVEL.scope(2, async {
            let _at_drop = at_drop;
            LEVEL.set(3);
            pending::<()>().await
        }));
        assert!(poll(scope.as_mut()).is_pending());
        drop(scope);
        assert_eq!((seen.take(), LEVEL.get()), (Some(3), Some(0)), "dropped half-way");

        let at_drop = AtDrop(&seen);
        drop(LEVEL.scope(4, async move { drop(at_drop) }));
        assert_eq!((seen.take(), LEVEL.get()), (Some(4), Some(0)), "never polled");

        let at_drop = AtDrop(&seen);
        let mut scope = Box::pin(LEVEL.scope(5, async move {
            let _at_drop = at_drop;
            panic!("as expected")
        }));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(scope.as_mut()).is_pending())).is_err());
        assert_eq!((seen.take(), LEVEL.get()), (Some(5), Some(0)), "a panic");
    }

    /// Uses variables wherever a value's own code runs.
    struct Busy;

    static BUSY_ENDS: AtomicUsize = AtomicUsize::new(0);

    context_var! { static BUSY: ContextVar<Busy> }

    impl Clone for Busy {
        fn clone(&self) -> Self {
            BUSY.set(Busy);
            Busy
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            LEVEL.set(BUSY_ENDS.fetch_add(1, Relaxed) as u32);
            BUSY.with(|_| ());
        }
    }

    #[test]
    fn values_may_use_variables_when_they_are_cloned_and_dropped() {
        let context = Context::new();
        context.run(|| {
            BUSY.set(Busy);
            drop(BUSY.get());
            let token = BUSY.set(Busy);
            BUSY.reset(token).expect("it is of this variable and context");
            assert!(poll(pin!(BUSY.scope(Busy, async { BUSY.get().is_some() }))).is_ready());
        });
        let before = BUSY_ENDS.load(Relaxed);
        drop(context);
        assert_eq!(BUSY_ENDS.load(Relaxed), before + 1, "the last goes with its context");
    }

    #[test]
    fn each_thread_has_values_of_its_own_to_the_very_end() {
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                assert_eq!(NAME.get(), None, "the thread's values are gone");
                NAME.set("dropped at once".into());
                let kept = run_in(None, || NAME.set("dropped as well".into()));
                assert!(NAME.reset(kept).is_err());
            }
        }
        context_var! { static LATE: ContextVar<Late> }
        NAME.set("mine".into());
        let context = Context::current();
        let elsewhere = thread::spawn(move || {
            assert_eq!(NAME.get(), None);
            LATE.set(Late);
            assert_eq!(context.run(|| NAME.get()).as_deref(), Some("mine"));
            context.run(|| NAME.set("theirs".into()));
            context
        });
        let context = elsewhere.join().expect("the late drop finds nothing, and no panic");
        assert_eq!(context.run(|| NAME.get()).as_deref(), Some("theirs"));
        assert_eq!(NAME.get().as_deref(), Some("mine"));
    }

    #[test]
    fn threads_may_be_in_one_context_at_once() {
        context_var! { static OTHER: ContextVar<u32> }
        const ROUNDS: u32 = if cfg!(miri) { 20 } else { 2_000 };
        let context = Context::new();
        thread::scope(|scope| {
            for variable in [&LEVEL, &OTHER] {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        context.run(|| variable.set(round));
                        assert_eq!(context.run(|| variable.get()), Some(round));
                        let copy = context.copy();
                        assert_eq!(copy.run(|| variable.get()), Some(round));
                    }
                });
            }
        });
        assert_eq!(context.run(|| (LEVEL.get(), OTHER.get())), (Some(ROUNDS - 1), Some(ROUNDS - 1)));
    }

    #[test]
    fn what_is_carried_runs_in_a_copy_wherever_it_is_called() {
        let (empty, set) = (carried(|| LEVEL.set(8)), {
            LEVEL.set(1);
            carried(|| (LEVEL.get(), LEVEL.set(9)).0)
        });
        assert!(Context::new().run(inherited).is_none(), "there is nothing to carry");
        assert_eq!(Context::new().run(set), Some(1));
        empty();
        assert_eq!(LEVEL.get(), Some(1), "and it leaves nothing behind");
    }

    thread_local! {
        /// The context of whoever the host below speaks for.
        static HOSTS: RefCell<Option<Context>> = const { RefCell::new(None) };
    }

    #[test]
    fn a_host_is_asked_unless_something_stands_between() {
        static HOST: Host = Host {
            find: || HOSTS.with_borrow(Option::clone),
            make: || HOSTS.with_borrow_mut(|place| Some(place.get_or_insert_default().clone())),
        };
        static NOBODY: Host = Host { find: || None, make: || None };
        LEVEL.set(1);
        assert!(!is_hosted());
        let hosted = host(&HOST);
        assert!(is_hosted() && HOSTS.with_borrow(|place| place.is_none()));
        assert_eq!(LEVEL.get(), Some(3), "the thread's values are hidden");
        let token = LEVEL.set(2);
        assert!(HOSTS.with_borrow(|place| place.is_some()), "made for the first value");
        Context::new().run(|| assert!(!is_hosted() && LEVEL.get() == Some(3)));
        assert!(is_hosted());
        LEVEL.reset(token).expect("it is of this variable and context");
        {
            let _nobody = host(&NOBODY);
            let token = LEVEL.set(4);
            assert_eq!(LEVEL.get(), Some(3), "nobody keeps it");
            assert!(LEVEL.reset(token).is_err());
            let scope = pin!(LEVEL.scope(5, async { LEVEL.get() }));
            assert_eq!(poll(scope), Poll::Ready(Some(5)), "but a scope keeps its own");
        }
        drop(hosted);
        assert_eq!(LEVEL.get(), Some(1));
    }

    #[test]
    fn all_have_a_text_that_names_the_variables() {
        Context::new().run(|| {
            let token = NAME.set("secret".into());
            assert_eq!(format!("{NAME:?} {token:?}"), "ContextVar(NAME) Token(NAME)");
            assert_eq!(format!("{:?}", Context::current()), "Context{\"NAME\"}");
        });
    }

    #[test]
    fn contexts_tokens_and_scopes_may_go_to_other_threads() {
        fn send_and_sync<T: Send + Sync>(_: &T) {}
        send_and_sync(&Context::new());
        send_and_sync(&LEVEL.set(1));
        send_and_sync(&LEVEL.scope(1, std::future::ready(())));
    }
}
