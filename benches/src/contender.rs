//! Who does the workloads. A contender is a package below `contender/` with one program; what all of them share is here.
//!
//! A program is started with an [`Order`], does it, and prints what it [said](Said): one line of JSON each. It keeps to the
//! first core, and is ended by a signal where it hangs.

use std::error::Error;
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use socket2::SockRef;

use crate::meter::{Cost, Counters, Meter, Span};
use crate::session::{Core, say, settle};
use crate::workload::{self, RAW, SYNC, Work};
use crate::{files, net, tasks};

/// A contender's line in the tables.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub name: &'static str,
    /// The program that is this contender, and maybe others.
    pub program: &'static str,
    /// The crate whose version matters.
    pub of: Option<&'static str>,
}

/// The one the tables are about.
pub const OURS: &str = "ringloop";
/// The same, where sockets lend the buffers into which the kernel puts data, and take them back to send.
pub const OURS_BY_CHUNK: &str = "ringloop-chunks";
/// The same, where the buffers into which blocks of a file are read are registered with the ring.
pub const OURS_REGISTERED: &str = "ringloop-registered";

/// All ways to use it.
pub const OUR_WAYS: [&str; 3] = [OURS, OURS_BY_CHUNK, OURS_REGISTERED];

/// All contenders, in the order of the tables.
pub const ALL: [Known; 13] = [
    Known { name: RAW, program: "contender-raw", of: Some("io-uring") },
    Known { name: SYNC, program: "contender-sync", of: None },
    Known { name: OURS, program: "contender-ringloop", of: Some("ringloop") },
    Known { name: OURS_BY_CHUNK, program: "contender-ringloop", of: Some("ringloop") },
    Known { name: OURS_REGISTERED, program: "contender-ringloop", of: Some("ringloop") },
    Known { name: "tokio", program: "contender-tokio", of: Some("tokio") },
    Known { name: "smol", program: "contender-smol", of: Some("smol") },
    Known { name: "monoio", program: "contender-monoio", of: Some("monoio") },
    Known { name: "compio", program: "contender-compio", of: Some("compio") },
    Known { name: "compio-tuned", program: "contender-compio", of: Some("compio") },
    Known { name: "glommio", program: "contender-glommio", of: Some("glommio") },
    Known { name: "tokio-uring", program: "contender-tokio-uring", of: Some("tokio-uring") },
    Known { name: "kimojio", program: "contender-kimojio", of: Some("kimojio") },
];

impl Known {
    /// Whether it is a runtime that a user could choose instead.
    pub fn is_peer(&self) -> bool {
        ![RAW, SYNC].contains(&self.name) && !OUR_WAYS.contains(&self.name)
    }
}

/// The contender of this name.
pub fn named(name: &str) -> Option<&'static Known> {
    ALL.iter().find(|known| known.name == name)
}

/// What a contender is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub contender: String,
    /// A workload's name.
    pub workload: String,
    pub span: Span,
    /// Where files are.
    pub scratch: PathBuf,
}

/// What a contender tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Said {
    /// It listens here: the load may begin.
    Listening(SocketAddr),
    /// It is done, and this is what it cost.
    Cost(Cost),
    /// It has no way to do this workload, and why.
    Cannot(String),
}

/// Makes the listener of a server, and tells the load where it is.
pub type Listen = fn() -> io::Result<TcpListener>;

/// A way to do the workloads, by family. What it cannot do it says, by [`cannot`].
pub trait Contender {
    /// What it counts of itself, read inside of its loop.
    fn counters() -> Counters {
        Counters::new()
    }

    fn tasks(&self, _work: tasks::Work, _meter: &'static Meter) -> io::Result<()> {
        Err(cannot("no tasks"))
    }

    /// Serves until the meter is over or the other end is.
    fn net(&self, _work: net::Work, _listen: Listen, _meter: &'static Meter) -> io::Result<()> {
        Err(cannot("no sockets"))
    }

    /// The files of this workload are in `scratch`, or go there.
    fn files(&self, _work: files::Work, _scratch: &Path, _meter: &'static Meter) -> io::Result<()> {
        Err(cannot("no files"))
    }
}

/// A runtime, as far as every family needs it. All is static: nothing between a workload and a runtime costs anything.
pub trait Runtime: 'static {
    /// A task's handle, which gives what the task gave. It is awaited or kept: a runtime may end a task whose handle is gone.
    type Join<T: 'static>: Future<Output = T> + 'static;

    /// Runs the runtime until `main` is done.
    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T;

    /// Has a task of its own do it.
    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output>;
}

/// The handle of a runtime whose tasks may fail; those of a bench do not.
pub struct Joined<H>(pub H);

impl<T, E: Debug, H: Future<Output = Result<T, E>> + Unpin> Future for Joined<H> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let joined = Pin::new(&mut self.0).poll(context);
        joined.map(|joined| joined.expect("a task of a bench does not fail"))
    }
}

/// A contender's word that it has no way to do a workload.
pub fn cannot(why: &str) -> io::Error {
    io::Error::new(ErrorKind::Unsupported, why)
}

/// The program of a contender, which makes itself of its name.
pub fn main<C: Contender>(make: impl FnOnce(&str) -> C) -> Result<(), Box<dyn Error>> {
    let order = std::env::args().nth(1).ok_or("usage: contender ORDER")?;
    let order: Order = serde_json::from_str(&order)?;
    let workload =
        workload::named(&order.workload).ok_or_else(|| format!("no workload '{}'", order.workload))?;
    settle(Core::First);
    let contender = make(&order.contender);
    let meter = Meter::new(order.span, C::counters);
    let ended = match workload.work {
        Work::Tasks(work) => contender.tasks(work, meter),
        Work::Net(work) => contender.net(work, listen, meter),
        Work::Files(work) => contender.files(work, &order.scratch, meter),
    };
    say(&match ended {
        Err(error) if error.kind() == ErrorKind::Unsupported => Said::Cannot(error.to_string()),
        ended => {
            ended?;
            Said::Cost(meter.cost().ok_or("the work ended before all was done that counts")?)
        }
    });
    Ok(())
}

fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Its connections inherit it.
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    say(&Said::Listening(listener.local_addr()?));
    Ok(listener)
}
