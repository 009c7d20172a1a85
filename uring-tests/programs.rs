//! `#[ringloop::main]` as programs use it: what comes out of it, and with which status it ends. `#[ringloop::test]` is used by
//! the tests of the example `mirror`.

use crate::harness::forked::forked;
use crate::harness::{Ctx, Trial};
use crate::interrupts::{default_sigint, press};
use crate::once;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::WaitStatus;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub const TRIALS: &[Trial] = &[
    once!(main_gives_what_the_async_one_returns),
    once!(options_are_the_builders),
    once!(an_interrupted_program_is_closed_in_order_and_ends_with_130),
    once!(a_program_may_leave_ctrl_c_alone),
    once!(a_cancelled_program_says_so_and_ends_with_1),
    once!(a_program_without_a_loop_names_the_remedy_and_ends_with_1),
];

mod fails {
    #[ringloop::main]
    pub async fn main() -> Result<(), std::num::ParseIntError> {
        ringloop::yield_now().await;
        "seven".parse::<u8>()?;
        Ok(())
    }
}

mod chosen {
    #[ringloop::main(debug, name = "program", thread_pool = [()].len(), ring_entries = 8)]
    pub async fn main() -> (String, Option<String>) {
        let task = ringloop::create_task(async {});
        let thread = ringloop::to_thread(|| std::thread::current().name().map(str::to_owned)).await;
        (format!("{task:?}"), thread.expect("no panic"))
    }
}

/// Where the programs below leave their marks.
static MARKS: OnceLock<PathBuf> = OnceLock::new();

fn mark(name: &str) {
    fs::write(MARKS.get().expect("it is set before").join(name), b"").expect("the folder can be written");
}

mod interrupted {
    use super::{mark, press};
    use ringloop::{create_task, sleep, with_cleanup, yield_now};
    use std::future::pending;
    use std::time::Duration;

    #[ringloop::main]
    pub async fn main() {
        create_task(with_cleanup(pending::<()>(), async |_| {
            sleep(Duration::from_millis(1)).await;
            mark("task cleaned up");
        }))
        .detach();
        yield_now().await;
        create_task(async { press() }).detach();
        with_cleanup(pending::<()>(), async |_| mark("main cleaned up")).await;
    }
}

mod uninterested {
    #[ringloop::main(sigint = ringloop::Sigint::Default)]
    pub async fn main() {
        super::press();
    }
}

mod cancelled {
    #[ringloop::main]
    pub async fn main() {
        ringloop::current_task().expect("main is a task").cancel_with("nobody needs it");
        std::future::pending::<()>().await;
    }
}

/// Runs the program in a process of its own: its exit status, and what it wrote to stderr.
fn exited(ctx: &Ctx, program: impl FnOnce()) -> (WaitStatus, String) {
    let _ = MARKS.set(ctx.dir().to_owned());
    let said = ctx.path("said");
    let status = forked(|| {
        let stderr = File::create(&said).expect("the folder can be written");
        nix::unistd::dup2_stderr(&stderr).expect("stderr can be replaced");
        default_sigint();
        program();
        0
    });
    (status, fs::read_to_string(&said).expect("it was made"))
}

fn main_gives_what_the_async_one_returns(_: &Ctx) {
    let error = fails::main().expect_err("that is no number");
    assert_eq!(error.kind(), &std::num::IntErrorKind::InvalidDigit);
}

fn options_are_the_builders(_: &Ctx) {
    let (task, thread) = chosen::main();
    assert!(task.contains("created at"), "debug mode notes where: {task}");
    assert!(thread.is_some_and(|name| name.starts_with("program")));
}

/// RUN-11
fn an_interrupted_program_is_closed_in_order_and_ends_with_130(ctx: &Ctx) {
    let (status, said) = exited(ctx, interrupted::main);
    assert!(matches!(status, WaitStatus::Exited(_, 130)), "{status:?}: {said}");
    assert_eq!(said, "");
    for name in ["main cleaned up", "task cleaned up"] {
        assert!(Path::exists(&ctx.path(name)), "{name}");
    }
}

fn a_program_may_leave_ctrl_c_alone(ctx: &Ctx) {
    let (status, said) = exited(ctx, uninterested::main);
    assert!(matches!(status, WaitStatus::Signaled(_, nix::sys::signal::SIGINT, _)), "{status:?}: {said}");
}

fn a_cancelled_program_says_so_and_ends_with_1(ctx: &Ctx) {
    let (status, said) = exited(ctx, cancelled::main);
    assert!(matches!(status, WaitStatus::Exited(_, 1)), "{status:?}");
    assert!(said.contains("nobody needs it"), "{said}");
}

fn a_program_without_a_loop_names_the_remedy_and_ends_with_1(ctx: &Ctx) {
    let (status, said) = exited(ctx, || {
        setrlimit(Resource::RLIMIT_NOFILE, 3, 3).expect("lower is allowed");
        interrupted::main();
    });
    assert!(matches!(status, WaitStatus::Exited(_, 1)), "{status:?}");
    assert!(said.contains("ulimit -n"), "{said}");
}
