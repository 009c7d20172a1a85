//! Serves a tree over TCP on loopback and mirrors it: `cargo run --release --example mirror [SRC [DST]]`.
//!
//! Both ends run in this one thread: a server that reads files and sends them, a client that receives and writes them, up to
//! `--jobs` at a time. Sockets and files are the ring's; hashing, and the calls that the ring has no operation for, run on
//! the thread pool.
//!
//! * [`options`]: the command line.
//! * [`wire`]: the line protocol between the two ends.
//! * [`tree`] and [`serve`]: the sending end.
//! * [`client`] and [`place`]: the receiving end.
//! * [`report`]: the progress bar and the table.
//!
//! Deliberately not here: deleting what is in DST and not in SRC, owners, hard links, fsync.

mod client;
mod options;
mod place;
mod report;
mod serve;
mod tree;
mod wire;

use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use nix::sys::stat::{Mode, umask};
use ringloop::net::TcpListener;
use ringloop::{Builder, Sigint, select};

use crate::client::Client;
use crate::options::Options;
use crate::report::Report;
use crate::tree::Tree;
use crate::wire::CHUNK;

fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Some(options)) => Rc::new(options),
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("mirror: {complaint}");
            return ExitCode::from(2);
        }
    };
    // What is being written is nobody else's to read until it has its final mode.
    umask(Mode::from_bits_truncate(0o077));

    let report = Rc::new(Report::new(options.quiet));
    let ended = run(&options, &report);
    report.finish();
    // Whoever closed our stdout does not want to know.
    let _ = write!(io::stdout(), "{:?} -> {:?}\n{report}", options.source, options.destination);
    match ended {
        Ok(Ended::Mirrored) if report.is_complete() => ExitCode::SUCCESS,
        Ok(Ended::Mirrored) => ExitCode::FAILURE,
        Ok(Ended::Interrupted) => {
            eprintln!("mirror: interrupted; what is there is complete, file by file");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("mirror: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How a mirror ends that meets no error which ends it.
enum Ended {
    /// All of it was tried.
    Mirrored,
    /// The user pressed Ctrl-C.
    Interrupted,
}

/// Runs the mirror on a loop of its own.
fn run(options: &Rc<Options>, report: &Rc<Report>) -> io::Result<Ended> {
    // A chunk fits into one of the loop's receive buffers.
    let mut runner = Builder::new().buffers(64, CHUNK as u32).sigint(Sigint::Cancel).build()?;
    let ended = runner.run(mirror(options, report));
    // Transfers that are still under way are cancelled and awaited here: they remove their temporary files.
    runner.close()?;
    match ended {
        Ok(mirrored) => mirrored.map(|()| Ended::Mirrored),
        Err(error) if error.is_interrupted() => Ok(Ended::Interrupted),
        Err(error) => Err(error.into()),
    }
}

async fn mirror(options: &Rc<Options>, report: &Rc<Report>) -> io::Result<()> {
    let tree = Arc::new(Tree::open(&options.source)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let token: Rc<str> = token()?.into();
    let client = Rc::new(Client::new(listener.local_addr()?, token.clone(), options.clone(), report.clone()));
    // The server never ends by itself unless something is wrong with it; the mirror's end is the end of both.
    select! {
        failed = serve::serve(listener, tree, token) => failed,
        mirrored = client.mirror() => mirrored,
    }
}

/// A word that nobody else on this machine can guess.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
