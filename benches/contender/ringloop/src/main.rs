//! ringloop, as its users write it.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::marker::PhantomData;
use std::path::Path;

use files::{Buffer, Registered};
use net::Chunks;
use ringloop_benches::contender::{
    self, Contender, Joined, Listen, OURS_BY_CHUNK, OURS_REGISTERED, Runtime, cannot,
};
use ringloop_benches::files::Work as FileWork;
use ringloop_benches::meter::{Counters, Meter};

pub struct Ringloop {
    way: Way,
}

/// How it is used.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// As one writes it at first.
    Plain,
    /// Sockets lend and take buffers, also where a workload does not ask for it.
    ByChunk,
    /// The buffers of blocks are registered.
    Registered,
}

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|name| Ringloop {
        way: match name {
            OURS_BY_CHUNK => Way::ByChunk,
            OURS_REGISTERED => Way::Registered,
            _ => Way::Plain,
        },
    })
}

impl Runtime for Ringloop {
    type Join<T: 'static> = Joined<ringloop::Task<T>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        ringloop::run(main).expect("a loop can run here")
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(ringloop::create_task(task))
    }
}

/// The same runtime, another way to use it.
pub struct With<W>(Ringloop, PhantomData<W>);

impl<W: 'static> Runtime for With<W> {
    type Join<T: 'static> = <Ringloop as Runtime>::Join<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        self.0.run(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Ringloop::spawn(task)
    }
}

impl Contender for Ringloop {
    fn counters() -> Counters {
        let stats = ringloop::testing::stats();
        let counted = [("turns", stats.turns), ("enters", stats.enters), ("completions", stats.completed)];
        counted.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn tasks(&self, work: ringloop_benches::tasks::Work, meter: &'static Meter) -> io::Result<()> {
        self.only(&[Way::Plain])?;
        ringloop_benches::tasks::perform(self, work, meter)
    }

    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        self.only(&[Way::Plain, Way::ByChunk])?;
        // Who holds many connections at rest has no buffer for each.
        match self.way == Way::ByChunk || matches!(work, ringloop_benches::net::Work::Idle(_)) {
            true => ringloop_benches::net::perform(&self.with::<Chunks>(), work, listen, meter),
            false => ringloop_benches::net::perform(self, work, listen, meter),
        }
    }

    fn files(&self, work: FileWork, scratch: &Path, meter: &'static Meter) -> io::Result<()> {
        let in_blocks =
            matches!(work, FileWork::Random { .. } | FileWork::ReadThrough | FileWork::WriteThrough);
        if self.way == Way::Registered && in_blocks {
            return ringloop_benches::files::perform(&self.with::<Registered>(), work, scratch, meter);
        }
        self.only(&[Way::Plain])?;
        ringloop_benches::files::perform(&self.with::<Buffer>(), work, scratch, meter)
    }
}

impl Ringloop {
    fn with<W>(&self) -> With<W> {
        With(Ringloop { way: self.way }, PhantomData)
    }

    /// Other ways would be the same as one of these.
    fn only(&self, ways: &[Way]) -> io::Result<()> {
        if ways.contains(&self.way) { Ok(()) } else { Err(cannot("the same as ringloop")) }
    }
}
