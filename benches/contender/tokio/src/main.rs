//! tokio with one thread, as its users write it; files by `spawn_blocking`, as its own `fs` does.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use ringloop_benches::contender::{self, Contender, Listen, Runtime};
use ringloop_benches::meter::Meter;
use tokio::task::JoinHandle;

struct Tokio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Tokio)
}

/// What never leaves the one thread, for a runtime that asks for `Send` all the same. (Its `LocalSet` does not, but costs
/// more.)
struct Local<T>(T);

// SAFETY: the runtime is of one thread: that makes, polls and drops all tasks and what they give. Its other threads run what
// `spawn_blocking` is given, which is not wrapped.
unsafe impl<T> Send for Local<T> {}

/// A task's handle.
struct Join<T>(JoinHandle<Local<T>>);

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let joined = Pin::new(&mut self.0).poll(context);
        joined.map(|joined| joined.expect("a task of a bench does not fail").0)
    }
}

impl<F: Future> Future for Local<F> {
    type Output = Local<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Local<F::Output>> {
        // SAFETY: the field is pinned as the whole is: it is never moved out, and there is no `Drop`.
        unsafe { self.map_unchecked_mut(|local| &mut local.0) }.poll(context).map(Local)
    }
}

impl Runtime for Tokio {
    type Join<T: 'static> = Join<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Join<F::Output> {
        Join(tokio::spawn(Local(task)))
    }
}

impl Contender for Tokio {
    fn tasks(&self, work: ringloop_benches::tasks::Work, meter: &'static Meter) -> io::Result<()> {
        ringloop_benches::tasks::perform(self, work, meter)
    }

    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::net::perform(self, work, listen, meter)
    }

    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::files::perform(self, work, scratch, meter)
    }
}
