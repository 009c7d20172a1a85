//! One case, one process. The parent starts itself again with `--exact NAME --in-process`, waits, and judges by the
//! exit status; the child runs the trial on its main thread between the watchdog's start and the aftermath's checks.
//!
//! The child's stderr goes to an unlinked file, not to a pipe: a process that the trial left behind would keep a pipe
//! open, and the parent would wait for it.

use super::aftermath::Before;
use super::trial::Case;
use super::watchdog::Watchdog;
use super::{Ctx, Kind};
use libtest_mimic::{Completion, Failed};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Uid;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The flag that runs trials in this very process: what the children are started with, and what a debugger wants.
pub const IN_PROCESS: &str = "--in-process";

/// The first number of the ordinary users, and how many: such as nobody has, and every user namespace maps.
const STRANGERS: (u32, u32) = (20_000, 40_000);

/// How much longer than the child's own watchdog the parent waits before it kills.
const GRACE: Duration = Duration::from_secs(10);

/// What a child prints before the reason when a trial finds out on the way that it cannot be tried here.
const SKIPPED: &str = "trial skipped: ";

/// A trial's word that it cannot be tried here; thrown by [`Ctx::skip`].
pub struct Skip(pub String);

/// How much longer than usual things may take: RINGLOOP_PATIENCE, a factor for emulated or crowded machines.
pub fn patience() -> u32 {
    std::env::var("RINGLOOP_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The watchdog's limit.
pub fn limit(case: &Case) -> Duration {
    Duration::from_secs(case.trial.seconds) * patience()
}

/// Parent: why the case cannot be tried here, if so.
fn unmet(case: &Case, in_process: bool) -> Option<String> {
    let as_root = in_process && case.trial.ordinary_user && Uid::effective().is_root();
    let mut reasons: Vec<String> = case.trial.needs.iter().filter_map(|need| need.unmet()).collect();
    reasons.extend(as_root.then(|| "needs an ordinary user".to_owned()));
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// Parent: runs the case in a child and judges it.
pub fn run_in_child(case: Case) -> Result<Completion, Failed> {
    if let Some(reason) = unmet(&case, false) {
        return Ok(Completion::ignored_with(reason));
    }
    let started = Instant::now();
    let mut log = unlinked_file()?;
    let mut child = start(&case, &log)?;
    let status = wait(&mut child, limit(&case) + GRACE)?;
    super::ctx::sweep(child.id());
    let mut said = String::new();
    log.rewind()?;
    io::Read::by_ref(&mut log).take(1 << 20).read_to_string(&mut said)?;
    match status {
        Some(status) if status.success() => {
            Ok(said.lines().find_map(skip_reason).unwrap_or(Completion::Completed))
        }
        Some(status) => Err(format!("{status} after {:?}\n{}", started.elapsed(), said.trim_end()).into()),
        None => Err(format!(
            "killed after {:?}: the child's own watchdog did not end it\n{said}",
            started.elapsed()
        )
        .into()),
    }
}

/// Child, or a person debugging: runs the case on this thread, with everything around it.
pub fn run_here(case: Case) -> Result<Completion, Failed> {
    if let Some(reason) = unmet(&case, true) {
        return Ok(Completion::ignored_with(reason));
    }
    let watchdog = Watchdog::start(case.name(), limit(&case));
    let before = Before::take();
    let ctx =
        Ctx::new(case.kind.unwrap_or(Kind::Default)).inspect_err(|error| eprintln!("no folder: {error}"))?;
    let outcome = catch_unwind(AssertUnwindSafe(|| (case.trial.body)(&ctx)));
    let seed = ctx.seed;
    drop(ctx);
    let completion = match outcome {
        Ok(()) => {
            before.assert_restored();
            Completion::Completed
        }
        Err(thrown) => match thrown.downcast::<Skip>() {
            Ok(skip) => {
                eprintln!("{SKIPPED}{}", skip.0);
                Completion::ignored_with(skip.0)
            }
            Err(panic) => {
                eprintln!("RINGLOOP_SEED={seed} repeats this");
                resume_unwind(panic)
            }
        },
    };
    drop(watchdog);
    Ok(completion)
}

/// Child: what it does before anything else. It dies with its parent and leaves no core file behind.
pub fn settle_in() {
    if std::env::var_os(CHILD).is_some() {
        // A failure of either only costs tidiness.
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    }
}

/// Set in children, so that a person's `--in-process` under a debugger keeps its core files.
const CHILD: &str = "RINGLOOP_TRIAL_CHILD";

fn start(case: &Case, log: &File) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", &case.name(), IN_PROCESS]).env(CHILD, "1");
    // Its stdout would only repeat the harness's own lines.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?);
    if case.trial.ordinary_user && Uid::effective().is_root() {
        let stranger = stranger();
        command.uid(stranger).gid(stranger);
    }
    command.spawn()
}

/// An ordinary user of its own for each case: some limits count what all processes of a user have together.
fn stranger() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (first, count) = STRANGERS;
    let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    first + number % count
}

/// Waits for the child; None: it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// What the child says of a trial that it could not try.
fn skip_reason(line: &str) -> Option<Completion> {
    line.split_once(SKIPPED).map(|(_, reason)| Completion::ignored_with(reason))
}

/// A file without a name, for what a child prints.
fn unlinked_file() -> io::Result<File> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("ringloop-trial-{}-{number}.log", std::process::id()));
    let file = File::options().read(true).append(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
