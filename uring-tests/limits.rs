//! What a loop does when the machine has no more to give: descriptors, locked memory, threads, the permission to use
//! io_uring at all. Each trial lowers the limits of its own process only.

use crate::harness::kinds::{rest, run_on, start, turns};
use crate::harness::pairs::{bound, clients, connected};
use crate::harness::peers::Peer;
use crate::harness::probes::{CountingWaker, Log, once_pending, poll_once, poll_with};
use crate::harness::{Ctx, Trial, aftermath};
use crate::{io, once};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringloop::fs::{self, File};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::testing::FaultPlan;
use ringloop::{Builder, SetupErrorKind, create_task, now, run, sleep, testing, timeout, to_thread};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(a_listener_without_descriptors_backs_off_and_recovers),
    once!(a_close_of_ours_lets_a_starved_listener_go_on_at_once),
    once!(a_starved_listener_enters_seldom),
    once!(an_accept_without_descriptors_keeps_its_last_waker_only),
    io!(a_call_without_descriptors_says_so),
    io!(a_job_for_the_pool_needs_no_descriptor),
    once!(a_thousand_loops_fit_into_64_kib_of_locked_memory).by_an_ordinary_user().seconds(120),
    once!(memory_that_comes_back_late_is_waited_for).by_an_ordinary_user(),
    once!(a_ring_that_does_not_fit_is_made_smaller).by_an_ordinary_user(),
    once!(no_locked_memory_at_all_is_named).by_an_ordinary_user(),
    once!(no_descriptor_for_the_ring_is_named),
    once!(a_filter_that_blocks_io_uring_is_named),
    once!(a_kernel_without_io_uring_is_named),
    once!(a_filter_that_blocks_only_enter_is_named),
    io!(worker_limits_hold),
    io!(a_ring_without_a_buffer_ring_receives),
    io!(operations_that_the_kernel_lacks_go_another_way),
    once!(kernel_errors_reach_the_caller_with_their_errno),
    once!(an_unasked_cancel_is_an_error_or_a_retry),
    once!(a_file_call_that_gets_no_kernel_worker_names_the_limit),
    once!(without_a_thread_all_that_needs_one_names_the_limit),
    once!(a_kernel_that_never_gets_on_is_told_for_sockets_as_for_files),
    io!(a_receive_that_its_loop_did_not_end_is_begun_anew_by_the_next),
];

/// Lets this process open so many descriptors more than it has; gives the old limit back when dropped.
struct Starved {
    /// The limits before.
    before: (u64, u64),
}

impl Starved {
    fn to(more: usize) -> Self {
        let before = getrlimit(Resource::RLIMIT_NOFILE).expect("a process may ask");
        let highest = aftermath::descriptors().into_keys().max().unwrap_or(0);
        setrlimit(Resource::RLIMIT_NOFILE, highest as u64 + 1 + more as u64, before.1)
            .expect("lower is allowed");
        Starved { before }
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.before.0, self.before.1);
    }
}

/// Takes every number below the highest one in use.
fn fill_gaps() -> Vec<std::fs::File> {
    let highest = aftermath::descriptors().into_keys().max().unwrap_or(0);
    let mut fillers = Vec::new();
    loop {
        let filler = std::fs::File::open("/dev/null").expect("the limit is still far");
        if std::os::fd::AsRawFd::as_raw_fd(&filler) > highest {
            return fillers;
        }
        fillers.push(filler);
    }
}

fn a_listener_without_descriptors_backs_off_and_recovers(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let waiting = clients(address, 5);
        turns(2).await;
        let fillers = fill_gaps();
        let starved = Starved::to(0);
        let accepting = create_task(async move {
            let mut served = Vec::new();
            for _ in 0..5 {
                served
                    .push(listener.accept().await.map(|(stream, peer)| (stream.local_addr().is_ok(), peer)));
            }
            served
        });
        sleep(Duration::from_millis(30)).await;
        assert!(!accepting.is_done(), "the clients wait, and so does the accept");
        drop(starved);
        let served =
            accepting.await.expect("no panic").into_iter().map(|answer| answer.expect("it recovered").1);
        let expected = waiting.iter().map(|client| client.local_addr().expect("it is connected"));
        assert_eq!(served.collect::<BTreeSet<_>>(), expected.collect());
        drop(fillers);
    });
}

/// On the paused clock, where the listener's own retry would show as time that passed.
fn a_close_of_ours_lets_a_starved_listener_go_on_at_once(ctx: &Ctx) {
    ctx.run_paused(async {
        let (listener, address) = bound().await;
        let (ours, _theirs) = connected().await;
        let waiting = clients(address, 1);
        turns(2).await;
        let fillers = fill_gaps();
        let starved = Starved::to(0);
        let accepting = create_task(async move { listener.accept().await.map(|(_, peer)| (peer, now())) });
        turns(5).await;
        assert!(!accepting.is_done(), "there is no descriptor");
        let closing = now();
        drop(ours);
        let (peer, accepted) = accepting.await.expect("no panic").expect("our own close made room");
        drop((starved, fillers));
        assert_eq!(peer, waiting[0].local_addr().expect("it is connected"));
        assert_eq!(accepted, closing);
    });
}

/// READ-10. A future wakes its last waker; it has no use for those before.
fn an_accept_without_descriptors_keeps_its_last_waker_only(ctx: &Ctx) {
    ctx.run_paused(async {
        let (listener, address) = bound().await;
        let waiting = clients(address, 1);
        turns(2).await;
        let fillers = fill_gaps();
        let starved = Starved::to(0);
        let mut accept = Box::pin(listener.accept());
        for _ in 0..5 {
            assert!(poll_once(&mut accept).await.is_pending());
            turns(1).await;
        }
        let (first, waker) = CountingWaker::new();
        for _ in 0..100 {
            assert!(poll_with(&waker, &mut accept).is_pending());
        }
        drop(waker);
        let (last, waker) = CountingWaker::new();
        for _ in 0..100 {
            assert!(poll_with(&waker, &mut accept).is_pending());
        }
        drop(waker);
        assert_eq!(Arc::strong_count(&first), 1, "it was replaced");
        assert!(Arc::strong_count(&last) <= 3, "one for the next close, one for the timer");
        drop((starved, fillers));
        accept.await.expect("there are descriptors again");
        drop(waiting);
    });
}

/// Level-triggered servers spin here at a full core.
fn a_starved_listener_enters_seldom(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let waiting = clients(address, 20);
        turns(2).await;
        let fillers = fill_gaps();
        let starved = Starved::to(0);
        let accepting = create_task(async move { listener.accept().await.map(drop) });
        turns(2).await;
        let before = testing::stats().enters;
        sleep(Duration::from_millis(300)).await;
        let enters = testing::stats().enters - before;
        assert!(enters < 60, "{enters} enters in 300 ms for nothing");
        drop((starved, fillers));
        accepting.await.expect("no panic").expect("it recovered");
        drop(waiting);
    });
}

fn a_call_without_descriptors_says_so(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    ctx.run(async {
        turns(2).await;
        let fillers = fill_gaps();
        let starved = Starved::to(0);
        let errors = [
            File::open(&path).await.err(),
            fs::read(&path).await.err(),
            TcpListener::bind("127.0.0.1:0").await.err(),
            TcpStream::connect("127.0.0.1:9").await.err(),
        ];
        drop((starved, fillers));
        for error in errors {
            let error = error.expect("no descriptor is left");
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error:?}");
        }
        assert_eq!(fs::read(&path).await.expect("there are some again"), b"text");
    });
}

fn a_job_for_the_pool_needs_no_descriptor(ctx: &Ctx) {
    use std::os::unix::fs::PermissionsExt;
    let path = ctx.file("file", b"text");
    ctx.run(async {
        // So that ring and thread are there.
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).await.expect("it is ours");
        let fillers = fill_gaps();
        let starved = Starved::to(0);
        let set = fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).await;
        drop((starved, fillers));
        set.expect("it opens nothing");
        let mode = fs::metadata(&path).await.expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    });
}

/// Ring memory counts against the user's limit of locked memory and is given back late: a loop must park its ring for
/// the next, and wait for memory that is on its way back.
fn a_thousand_loops_fit_into_64_kib_of_locked_memory(ctx: &Ctx) {
    setrlimit(Resource::RLIMIT_MEMLOCK, 64 << 10, 64 << 10).expect("lower is allowed");
    for number in 0..1000 {
        let mut runner = start(Builder::new());
        runner
            .run(async {
                let (ours, mut theirs) = connected().await;
                create_task(async move { ours.read(&mut [0; 8]).await }).detach();
                once_pending().await;
                let mut create = File::create(ctx.path("file"));
                let _ = poll_once(&mut create).await;
                theirs.write_all(b"x").expect("the loop's end is open");
            })
            .expect("it runs");
        runner.close().expect("it ends");
        // A third of them give their ring back to the kernel and must get another one.
        if number % 3 == 0 {
            testing::release_parked_ring();
        }
    }
}

/// On a busy machine the kernel takes half a second to give a ring's memory back. Here another thread plays the kernel: it holds
/// all the memory there is for so long, and the ring that was closed just before lets hope for more.
fn memory_that_comes_back_late_is_waited_for(_: &Ctx) {
    setrlimit(Resource::RLIMIT_MEMLOCK, 72 << 10, 72 << 10).expect("lower is allowed");
    let (full, filled) = channel();
    let (tell, told) = channel();
    let holder = Peer::play(move || {
        // 36 and 24 KiB.
        let loops = [Builder::new(), Builder::new().ring_entries(64)].map(start);
        full.send(()).expect("the trial waits");
        told.recv().expect("the trial tells it");
        std::thread::sleep(Duration::from_millis(400));
        drop(loops);
    });
    filled.recv().expect("two loops fit");
    drop(start(Builder::new().ring_entries(4).completion_entries(4)));
    testing::release_parked_ring();
    // The least ring that a loop makes do with takes 8 KiB.
    setrlimit(Resource::RLIMIT_MEMLOCK, 64 << 10, 72 << 10).expect("lower is allowed");
    tell.send(()).expect("the peer waits");
    run_on(Builder::new(), async {});
    holder.end();
}

fn a_ring_that_does_not_fit_is_made_smaller(ctx: &Ctx) {
    setrlimit(Resource::RLIMIT_MEMLOCK, 64 << 10, 64 << 10).expect("lower is allowed");
    let path = ctx.file("file", b"text");
    run_on(Builder::new().ring_entries(4096), async {
        for _ in 0..100 {
            assert_eq!(fs::read(&path).await.expect("it is there"), b"text");
        }
    });
}

fn no_locked_memory_at_all_is_named(ctx: &Ctx) {
    setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0).expect("lower is allowed");
    let Err(error) = Builder::new().build() else {
        ctx.skip("needs a kernel that counts rings as locked memory");
    };
    assert!(matches!(error.kind(), SetupErrorKind::Memlock { limit: 0, .. }), "{error}");
    assert!(error.to_string().contains("memlock"), "the text says what to raise: {error}");
    let error = run(async {}).expect_err("no ring");
    assert!(error.is_setup() && error.to_string().contains("memlock"), "{error}");
    let error: std::io::Error = error.into();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
}

fn no_descriptor_for_the_ring_is_named(_: &Ctx) {
    let fillers = fill_gaps();
    let starved = Starved::to(0);
    let refused = Builder::new().build().err();
    drop((starved, fillers));
    let error = refused.expect("no descriptor is left");
    assert_eq!(error.kind(), SetupErrorKind::Descriptors, "{error}");
    start(Builder::new()).run(async {}).expect("there are some again");
}

fn a_filter_that_blocks_io_uring_is_named(_: &Ctx) {
    refuse_calls(
        &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register],
        libc::EPERM,
    );
    let error = Builder::new().build().err().expect("the filter is in force");
    assert_eq!(error.kind(), SetupErrorKind::Seccomp, "{error}");
    assert!(error.to_string().contains("seccomp") && error.to_string().contains("scripts/"), "{error}");
    assert!(format!("{error:?}").contains("seccomp"), "Debug prints the remedy too: {error:?}");
}

fn a_kernel_without_io_uring_is_named(_: &Ctx) {
    refuse_calls(&[libc::SYS_io_uring_setup], libc::ENOSYS);
    let error = Builder::new().build().err().expect("the filter is in force");
    // A filter may answer ENOSYS as well (Podman's does): either is an honest reading.
    assert!(matches!(error.kind(), SetupErrorKind::Missing | SetupErrorKind::Seccomp), "{error}");
}

fn a_filter_that_blocks_only_enter_is_named(_: &Ctx) {
    refuse_calls(&[libc::SYS_io_uring_enter], libc::EPERM);
    let error = Builder::new().build().err().expect("a ring without enter is no ring");
    assert_eq!(error.kind(), SetupErrorKind::EnterRefused, "{error}");
}

/// A seccomp filter of this process: these system calls answer `errno`, all others go through.
fn refuse_calls(calls: &[libc::c_long], errno: i32) {
    let instruction =
        |code: u32, jt: usize, k: u32| libc::sock_filter { code: code as u16, jt: jt as u8, jf: 0, k };
    // Load the call's number; jump to the last instruction if it is one of ours; allow; refuse.
    let mut program = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (place, &call) in calls.iter().enumerate() {
        program.push(instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            calls.len() - place,
            call as u32,
        ));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno as u32));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs().expect("it is always allowed");
    // SAFETY: the kernel copies the program during the call, and it lives until then.
    let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

/// The kernel's threads for block I/O count for the process: a flood of it must not make thousands of them.
fn worker_limits_hold(ctx: &Ctx) {
    run_on(ctx.builder().workers(2, 4), async {
        let workers = Log::new();
        let writes = (0..200).map(|number| {
            let (path, workers) = (ctx.path(&format!("{number}")), workers.clone());
            create_task(async move {
                fs::write(path, vec![1; 20_000]).await.expect("the folder can be written");
                workers.push(kernel_workers());
            })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.expect("no panic");
        }
        let most = workers.all().into_iter().max().unwrap_or(0);
        assert!(most <= 6, "{most} kernel workers");
    });
}

/// The kernel's own threads in this process.
fn kernel_workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs is there");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("iou-wrk")).count()
}

fn a_ring_without_a_buffer_ring_receives(ctx: &Ctx) {
    let builder = ctx.builder().feature_mask(ringloop::FeatureMask::kernel_6_1().without_buffer_ring());
    run_on(builder, async {
        let (ours, mut theirs) = connected().await;
        for round in 0..20_u8 {
            theirs.write_all(&[round; 5000]).expect("the loop's end is open");
            let mut buffer = [0; 5000];
            ours.read_exact(&mut buffer).await.expect("it was sent");
            assert_eq!(buffer, [round; 5000]);
        }
        theirs.write_all(b"a chunk").expect("the loop's end is open");
        let chunk = ours.read_chunk().await.expect("it was sent").expect("not the end");
        assert_eq!(&*chunk, &b"a chunk"[..chunk.len()]);
    });
}

/// The floor's kernel lacks operations that newer ones have; what the crate offers is the same.
fn operations_that_the_kernel_lacks_go_another_way(ctx: &Ctx) {
    let mask = ["ftruncate", "bind", "listen", "statx", "unlinkat", "renameat", "mkdirat", "openat", "close"];
    let mask =
        mask.iter().fold(ringloop::FeatureMask::kernel_6_1(), |mask, name| mask.without_operation(name));
    run_on(ctx.builder().feature_mask(mask), async {
        let (from, to) = (ctx.path("from"), ctx.path("folder/to"));
        fs::create_dir(ctx.path("folder")).await.expect("the folder can be written");
        fs::write(&from, b"content").await.expect("the folder can be written");
        fs::rename(&from, &to).await.expect("the same file system");
        let file = File::options().read(true).write(true).open(&to).await.expect("it is there");
        file.set_len(4).await.expect("shorter");
        assert_eq!(file.metadata().await.expect("open").len(), 4);
        file.close().await.expect("it closes");
        assert_eq!(fs::read(&to).await.expect("it is there"), b"cont");
        fs::remove_file(&to).await.expect("it is there");
        let (listener, address) = bound().await;
        let client = clients(address, 1);
        let (_, peer) = listener.accept().await.expect("a client waits");
        assert_eq!(peer, client[0].local_addr().expect("it is connected"));
    });
}

fn kernel_errors_reach_the_caller_with_their_errno(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    let plan = FaultPlan::new().fail("openat", libc::EIO, 1).fail("accept", libc::ENOBUFS, 2);
    run_on(Builder::new().faults(plan), async {
        if let Err(error) = File::open(&path).await {
            assert_eq!(error.raw_os_error(), Some(libc::EIO));
        }
        let (listener, address) = bound().await;
        let waiting = clients(address, 10);
        let (mut served, mut failed) = (0, 0);
        while served < waiting.len() {
            match listener.accept().await {
                Ok(_) => served += 1,
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
                    failed += 1;
                }
            }
            assert!(failed <= 40, "an accept is tried again");
        }
        rest().await;
    });
}

/// A worker that could not start completes with ECANCELED although nobody asked: that must never look like a cancel.
/// What is said where no thread can be started: of the kind that std's error has, and with the limits to raise.
fn assert_names_the_limit(error: &std::io::Error) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{text}");
    assert!(text.contains("no thread") && text.contains("ulimit -u") && !text.contains("cancel"), "{text}");
}

/// PROBE-05. The kernel answers so where it cannot start the worker.
fn a_file_call_that_gets_no_kernel_worker_names_the_limit(ctx: &Ctx) {
    let path = ctx.file("file", vec![4; 5000]);
    run_on(Builder::new().faults(FaultPlan::new().fail("read", libc::ECANCELED, 1)), async {
        let file = File::open(&path).await.expect("it is there");
        let error = file.read_at(vec![0; 10], 0).await.expect_err("no read succeeds");
        assert_names_the_limit(&error.error);
    });
}

/// PROBE-05. The filter answers as the kernel does at RLIMIT_NPROC, which does not bind root.
fn without_a_thread_all_that_needs_one_names_the_limit(ctx: &Ctx) {
    let path = ctx.file("file", vec![4; 100_000]);
    refuse_calls(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN);
    let theirs = std::thread::Builder::new().spawn(|| ()).expect_err("the filter is in force");
    assert_eq!(theirs.kind(), ErrorKind::WouldBlock, "what std says");
    run_on(Builder::new().on_error(|_| ()), async {
        assert_names_the_limit(&fs::canonicalize(&path).await.expect_err("no thread"));
        assert_names_the_limit(&fs::copy(&path, ctx.path("copy")).await.expect_err("no thread"));
        let listing = fs::read_dir(ctx.dir()).await.map(drop);
        assert_names_the_limit(&listing.expect_err("no thread"));
        let lookup = ringloop::net::lookup_host("localhost:80").await;
        assert_names_the_limit(&lookup.expect_err("no thread"));
        let error = to_thread(|| ()).await.expect_err("no thread");
        assert!(!error.is_cancelled() && !error.is_panic());
        assert_names_the_limit(&error.into());
    });
}

fn an_unasked_cancel_is_an_error_or_a_retry(ctx: &Ctx) {
    let path = ctx.file("file", vec![4; 5000]);
    let names = ["read", "write", "recv", "send", "openat", "accept"];
    let plan = names.iter().fold(FaultPlan::new(), |plan, name| plan.fail(name, libc::ECANCELED, 3));
    run_on(Builder::new().faults(plan), async {
        for _ in 0..20 {
            match fs::read(&path).await {
                Ok(bytes) => assert_eq!(bytes, vec![4; 5000]),
                Err(error) => assert_ne!(error.kind(), ErrorKind::Interrupted, "{error:?}"),
            }
        }
        let (ours, mut theirs) = connected().await;
        for round in 0..20_u8 {
            theirs.write_all(&[round; 10]).expect("the loop's end is open");
            let mut buffer = [0; 10];
            ours.read_exact(&mut buffer).await.expect("a receive is tried again");
            assert_eq!(buffer, [round; 10]);
            ours.write_all(&buffer).await.expect("a send is tried again");
        }
        ours.flush().await.expect("a send is tried again");
        let mut back = [0; 200];
        theirs.read_exact(&mut back).expect("it was sent");
        assert!((0..20).all(|round| back[round * 10..][..10] == [round as u8; 10]));
        assert_eq!(to_thread(|| 1).await.expect("no panic"), 1);
    });
}

/// READ-16. A file's read says what expects a socket's calls.
fn a_kernel_that_never_gets_on_is_told_for_sockets_as_for_files(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    let names = ["read", "recv", "send", "accept"];
    let plan = names.iter().fold(FaultPlan::new(), |plan, name| plan.fail(name, libc::EINTR, 1));
    run_on(Builder::new().faults(plan), async {
        let file = File::open(&path).await.expect("it is there");
        let expected = file.read_at(vec![0; 4], 0).await.expect_err("no read gets on").error.kind();
        let (ours, _theirs) = connected().await;
        let limit = Duration::from_secs(10);
        let read = timeout(limit, ours.read(&mut [0; 4])).await.expect("not for ever");
        assert_eq!(read.expect_err("no receive gets on").kind(), expected);
        ours.write_all(b"text").await.expect("it is accepted");
        let flushed = timeout(limit, ours.flush()).await.expect("not for ever");
        assert_eq!(flushed.expect_err("no send gets on").kind(), expected);
        let (listener, address) = bound().await;
        let waiting = clients(address, 1);
        let accepted = timeout(limit, listener.accept()).await.expect("not for ever");
        assert_eq!(accepted.map(drop).expect_err("no accept gets on").kind(), expected);
        drop(waiting);
    });
}

/// READ-17. To std it is one socket, whoever reads from it.
fn a_receive_that_its_loop_did_not_end_is_begun_anew_by_the_next(ctx: &Ctx) {
    for errno in [libc::EAGAIN, libc::EINTR, 0] {
        let builder = Builder::new().buffers(8, 1024);
        let mut first = start(match errno {
            0 => builder,
            errno => builder.faults(FaultPlan::new().fail("recv", errno, 1)),
        });
        let (ours, mut theirs) = first
            .run(async {
                let (ours, theirs) = connected().await;
                assert!(poll_once(&mut Box::pin(ours.read(&mut [0; 8]))).await.is_pending());
                turns(3).await;
                (ours, theirs)
            })
            .expect("nothing cancels it");
        first.close().expect("the loop is at rest");
        ctx.run(async {
            theirs.write_all(b"hello").expect("the loop's end is open");
            let mut room = [0; 5];
            ours.read_exact(&mut room).await.expect("it was written");
            assert_eq!(&room, b"hello", "{errno}");
            drop(ours);
        });
    }
}
