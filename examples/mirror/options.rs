//! The command line, and whether what it asks for makes sense: every complaint says what is wrong, and where.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::*;

pub const HELP: &str = "\
Serves the tree SRC over TCP on loopback and mirrors it into DST.

usage: mirror [options] [SRC [DST]]

  SRC             a directory [default: the sources of cargo's packages, CARGO_HOME/registry/src]
  DST             where the mirror is made; other files in it are left alone, different ones of the
                  same name are replaced [default: a new temporary directory, which is kept]
  --jobs N        files under way at once, each over a connection of its own [default: 32]
  --timeout SECS  how long a transfer may take, besides a second for each 8 MiB [default: 30]
  --retries N     further attempts after a timeout or a broken connection [default: 3]
  --quiet         no progress bar and no notes; errors are still printed
  -h, --help      this text

Modes, times and symbolic links are preserved; owners and hard links are not. Sockets, devices and
fifos are skipped with a note. A file that is in DST with the same length and the same time of
change counts as unchanged.

Exit status: 0 if everything was mirrored, 1 if something was not, 2 for a wrong command line,
130 after Ctrl-C.";

#[derive(Debug)]
pub struct Options {
    /// The directory to be mirrored: absolute, without links in it.
    pub source: PathBuf,
    /// Where to: the same.
    pub destination: PathBuf,
    /// Whether the destination was made by us and named by the user.
    pub owns_destination: bool,
    /// Whether something was in the destination before.
    pub look_first: bool,
    /// How many connections, hence files under way.
    pub jobs: usize,
    /// How long a transfer may take, beside the time that a large file has for its length.
    pub timeout: Duration,
    /// How many more attempts a transfer has after the first.
    pub retries: u32,
    /// Whether only errors and the table are wanted.
    pub quiet: bool,
}

/// What the command line asks for: `None` for the help.
pub fn parse() -> Result<Option<Options>, String> {
    parse_from(lexopt::Parser::from_env())
}

fn parse_from(mut words: lexopt::Parser) -> Result<Option<Options>, String> {
    let (mut jobs, mut seconds, mut retries, mut quiet) = (32, 30.0, 3, false);
    let mut paths = Vec::new();
    let complain = |error: lexopt::Error| format!("{error}; --help lists the options");
    while let Some(word) = words.next().map_err(complain)? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("quiet") => quiet = true,
            Long("jobs") => jobs = words.value().and_then(|value| value.parse()).map_err(complain)?,
            Long("timeout") => seconds = words.value().and_then(|value| value.parse()).map_err(complain)?,
            Long("retries") => retries = words.value().and_then(|value| value.parse()).map_err(complain)?,
            Value(path) if paths.len() < 2 => paths.push(PathBuf::from(path)),
            other => return Err(complain(other.unexpected())),
        }
    }
    if !(1..=150).contains(&jobs) {
        return Err(format!("--jobs {jobs}: give 1 to 150, each takes up to six descriptors"));
    }
    let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero());
    let timeout = timeout.ok_or_else(|| format!("--timeout {seconds}: give a number of seconds above 0"))?;

    let mut paths = paths.into_iter();
    let source = match paths.next() {
        Some(path) => path,
        None => cargo_sources()?,
    };
    let source = canonical_directory("SRC", &source)?;
    let destination = match paths.next() {
        Some(path) => Destination::named(&source, &path)?,
        None => Destination::temporary()?,
    };
    let Destination { path: destination, owned: owns_destination, used: look_first } = destination;
    Ok(Some(Options { source, destination, owns_destination, look_first, jobs, timeout, retries, quiet }))
}

/// A real tree of thousands of files, on every machine that built this program.
fn cargo_sources() -> Result<PathBuf, String> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let sources = cargo_home.map(|home| home.join("registry/src"));
    sources.ok_or_else(|| "no SRC is given, and neither CARGO_HOME nor HOME is set".to_string())
}

fn canonical_directory(name: &str, path: &Path) -> Result<PathBuf, String> {
    let canonical = fs::canonicalize(path).map_err(|error| format!("{name} {path:?}: {error}"))?;
    if canonical.is_dir() { Ok(canonical) } else { Err(format!("{name} {path:?}: not a directory")) }
}

struct Destination {
    path: PathBuf,
    owned: bool,
    used: bool,
}

impl Destination {
    /// The directory that the user named, made if it is not there.
    fn named(source: &Path, path: &Path) -> Result<Destination, String> {
        let at = |error: io::Error| format!("DST {path:?}: {error}");
        // Where it will be must be known before anything is made there: a mirror inside its own source has no end.
        let place = future_place(path).map_err(at)?;
        if place.starts_with(source) {
            return Err(format!("DST {path:?}: lies inside SRC {source:?}"));
        }
        if source.starts_with(&place) {
            return Err(format!("DST {path:?}: SRC {source:?} lies inside it and could be overwritten"));
        }
        let owned = !place.exists();
        if owned {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&place).map_err(at)?;
        }
        let path = canonical_directory("DST", path)?;
        let used = fs::read_dir(&path).map_err(at)?.next().is_some();
        Ok(Destination { path, owned, used })
    }

    /// A new directory for nobody else's eyes.
    fn temporary() -> Result<Destination, String> {
        let template = env::temp_dir().join("mirror-XXXXXX");
        let path = nix::unistd::mkdtemp(&template).map_err(|error| format!("{template:?}: {error}"))?;
        let path = canonical_directory("DST", &path)?;
        Ok(Destination { path, owned: false, used: false })
    }
}

/// The canonical form of a path whose last parts may not be there yet.
fn future_place(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            let parent = if parent == OsStr::new("") { Path::new(".") } else { parent };
            Ok(future_place(parent)?.join(name))
        }
        (result, ..) => result,
    }
}
