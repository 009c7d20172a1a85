//! Functions that a worker can be asked for: `process_fn!` makes them, a list that the linker puts together has them.
//!
//! A worker is another process and knows nothing of the pool's memory, so a function goes by its name: module path and
//! place in the source. Both processes run the same program, so both have the same list.

use std::fmt::{self, Debug, Formatter};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{self, Tag};
use crate::error::panic_message;
use crate::pool;

/// A function that workers know, made by [`process_fn!`](crate::process_fn). Called directly it runs here.
pub struct ProcessFn<A, O> {
    /// The name in the list.
    name: &'static str,
    /// The function itself.
    function: fn(A) -> O,
}

impl<A: Serialize + DeserializeOwned, O: Serialize + DeserializeOwned> ProcessFn<A, O> {
    /// What `process_fn!` makes. What does not go through serde is refused here, where the function is, not where it is used.
    #[doc(hidden)]
    pub const fn new(name: &'static str, function: fn(A) -> O) -> Self {
        ProcessFn { name, function }
    }
}

impl<A, O> ProcessFn<A, O> {
    /// Its name: the module's path, the function's name, and its place in the source.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<A, O> Clone for ProcessFn<A, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, O> Copy for ProcessFn<A, O> {}

impl<A, O> Deref for ProcessFn<A, O> {
    type Target = fn(A) -> O;

    fn deref(&self) -> &fn(A) -> O {
        &self.function
    }
}

impl<A, O> Debug for ProcessFn<A, O> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProcessFn").field(&self.name).finish()
    }
}

/// Makes functions that the workers of a [`ProcessPool`](crate::ProcessPool) can be asked for.
///
/// Each has one argument, a name or a pattern in parentheses (several are a tuple). What it takes and what it returns
/// implement serde's `Serialize` and `DeserializeOwned`. Functions stand wherever items stand, also inside of others;
/// attributes and visibility are kept. What the macro makes is a `static` of type [`ProcessFn`](crate::ProcessFn), which can be
/// called like the function that it was: `square(3)`. As for every static, a variable in its scope cannot have its name.
///
/// ```
/// ringloop::process_fn! {
///     /// Works anywhere, also on several arguments.
///     pub fn scale((values, factor): (Vec<f64>, f64)) -> Vec<f64> {
///         values.into_iter().map(|value| value * factor).collect()
///     }
///
///     fn square(side: u64) -> u64 { side * side }
/// }
///
/// # fn main() {
/// assert_eq!(square(3), 9);
/// assert_eq!(scale((vec![1.0, 2.0], 0.5)), [0.5, 1.0]);
/// # }
/// ```
#[macro_export]
macro_rules! process_fn {
    ($($(#[$attribute:meta])* $visibility:vis fn $name:ident($argument:tt: $Argument:ty $(,)?) $(-> $Output:ty)? $body:block)+) => {$(
        $(#[$attribute])*
        #[allow(non_upper_case_globals)]
        $visibility static $name: $crate::ProcessFn<$Argument, $crate::process_fn!(@ $($Output)?)> = {
            const NAME: &str = ::std::concat!(
                ::std::module_path!(), "::", ::std::stringify!($name),
                " (", ::std::file!(), ":", ::std::line!(), ")"
            );
            fn __process_fn($argument: $Argument) -> $crate::process_fn!(@ $($Output)?) $body
            $crate::process_pool::private::inventory::submit! {
                $crate::process_pool::private::Registered::new(NAME, |argument| {
                    $crate::process_pool::private::serve(argument, __process_fn)
                })
            }
            $crate::ProcessFn::new(NAME, __process_fn)
        };
    )+};
    (@) => { () };
    (@ $Output:ty) => { $Output };
}

/// A function in the list.
pub struct Registered {
    name: &'static str,
    /// From an argument's bytes to the answer's frame.
    serve: fn(&[u8]) -> Vec<u8>,
}

impl Registered {
    /// What `process_fn!` puts into the list.
    pub const fn new(name: &'static str, serve: fn(&[u8]) -> Vec<u8>) -> Self {
        Registered { name, serve }
    }
}

inventory::collect!(Registered);

/// Worker: runs the function that a request asks for, and gives the frame that answers.
pub(super) fn answer(request: &[u8]) -> Vec<u8> {
    let (name, argument) = match frame::parse_request(request) {
        Ok(parsed) => parsed,
        Err(error) => return frame::text(Tag::BadArgument, &error.to_string()),
    };
    match inventory::iter::<Registered>().find(|known| known.name == name) {
        Some(known) => (known.serve)(argument),
        None => frame::text(Tag::Unknown, name),
    }
}

/// Worker: reads the argument, calls the function, writes the output. A panic of any of them is an answer too.
pub fn serve<A: DeserializeOwned, O: Serialize>(argument: &[u8], function: fn(A) -> O) -> Vec<u8> {
    let served = catch_unwind(AssertUnwindSafe(|| match postcard::from_bytes(argument) {
        Ok(argument) => frame::value(Tag::Output, &function(argument))
            .unwrap_or_else(|error| frame::text(Tag::BadOutput, &error.to_string())),
        Err(error) => frame::text(Tag::BadArgument, &error.to_string()),
    }));
    served.unwrap_or_else(|thrown| {
        let answer = frame::text(Tag::Panicked, panic_message(&*thrown));
        // Its drop might throw again.
        pool::run(Box::new(move || drop(thrown)));
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::process_fn! {
        /// Twice as much.
        pub(super) fn double(number: u32) -> u32 { number * 2 }
        fn fail(text: String) { panic!("{text}") }
    }

    fn asked<A: Serialize, O>(function: ProcessFn<A, O>, argument: &A) -> (Tag, Vec<u8>) {
        let request = frame::request(function.name(), argument).expect("it can be written");
        let (_, body) = frame::read(&*request).expect("it is whole");
        frame::read(&*answer(&body)).expect("it is whole")
    }

    #[test]
    fn a_function_is_found_by_its_name_and_called_here_like_any_other() {
        assert_eq!(double(4), 8);
        assert!(double.name().starts_with("ringloop::process_pool::function::tests::double ("), "{double:?}");
        assert_eq!(asked(double, &21), (Tag::Output, vec![42]));
    }

    #[test]
    fn functions_of_the_same_name_in_one_module_are_two() {
        fn one() -> ProcessFn<(), u8> {
            crate::process_fn! { fn same(_: ()) -> u8 { 1 } }
            same
        }
        fn two() -> ProcessFn<(), u8> {
            crate::process_fn! { fn same(_: ()) -> u8 { 2 } }
            same
        }
        assert_eq!(asked(one(), &()), (Tag::Output, vec![1]));
        assert_eq!(asked(two(), &()), (Tag::Output, vec![2]));
    }

    #[test]
    fn what_goes_wrong_is_an_answer() {
        assert_eq!(asked(fail, &"why".to_owned()), (Tag::Panicked, b"why".to_vec()));
        let nobody: ProcessFn<(), ()> = ProcessFn::new("nobody", |()| ());
        assert_eq!(asked(nobody, &()), (Tag::Unknown, b"nobody".to_vec()));
        let misread = ProcessFn::new(double.name(), |_: Vec<u8>| ());
        assert_eq!(asked(misread, &vec![]).0, Tag::Output, "an empty vector is a zero");
        let misread: ProcessFn<(), ()> = ProcessFn::new(double.name(), |()| ());
        assert_eq!(asked(misread, &()).0, Tag::BadArgument);
        let (tag, _) = frame::read(&*answer(&[0xff])).expect("it is whole");
        assert_eq!(tag, Tag::BadArgument);
    }
}
