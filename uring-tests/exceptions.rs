//! The exception handler: what it is told, that it can be exchanged, that its own panic harms nobody.

use crate::harness::kinds::{run_on, start};
use crate::harness::pairs::connected;
use crate::harness::probes::{Log, once_pending};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use ringloop::{
    Builder, DetachLimits, ErrorContext, TaskBuilder, catch_cancel, create_task, current,
    default_exception_handler, fs, testing, yield_now,
};
use std::cell::Cell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(a_handler_gets_the_task_its_panic_and_its_place),
    once!(a_handler_gets_a_callbacks_panic_without_a_task),
    once!(a_handler_can_be_exchanged_while_the_loop_runs),
    once!(a_handler_may_exchange_itself),
    once!(a_handler_sees_no_cancel_offer),
    once!(a_handler_that_panics_is_told_of_and_the_loop_lives),
    once!(a_default_that_panics_too_leaves_a_line_on_stderr),
    once!(the_text_of_an_error_has_all_that_is_known),
    io!(a_handler_gets_the_peer_of_a_connection_that_was_reset),
];

/// A builder whose handler notes what it is told.
fn hearing(builder: Builder) -> (Builder, Arc<Mutex<Vec<ErrorContext>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = told.clone();
    let builder =
        builder.on_error(move |context| telling.lock().expect("nobody panics in here").push(context.clone()));
    (builder, told)
}

/// What a handler that notes texts was told.
fn noting(log: &Log<String>) -> impl Fn(&ErrorContext) + 'static {
    let log = log.clone();
    move |context| log.push(context.to_string())
}

/// DEBUG-07, TASK-13: the place of its creation. Where it panicked the panic hook has told.
fn a_handler_gets_the_task_its_panic_and_its_place(_: &Ctx) {
    let (builder, told) = hearing(Builder::new().debug(true).slow_step(Duration::from_secs(3600)));
    run_on(builder, async {
        TaskBuilder::new().name("reader").create_task(async { panic!("no such page") }).detach();
        yield_now().await;
    });
    let told = told.lock().expect("no panic");
    let [context] = &told[..] else { panic!("told once: {told:?}") };
    assert_eq!(context.task.as_deref(), Some("reader"));
    assert_eq!(context.error.as_deref(), Some("no such page"));
    assert!(context.location.is_some_and(|place| place.file().ends_with("exceptions.rs")), "{context:?}");
    assert_eq!(context.peer, None);
}

/// DEBUG-07, SCHED-12
fn a_handler_gets_a_callbacks_panic_without_a_task(ctx: &Ctx) {
    let (builder, told) = hearing(ctx.builder());
    run_on(builder, async {
        current().call_soon(|| panic!("in a callback"));
        yield_now().await;
    });
    let told = told.lock().expect("no panic");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].to_string(), "a callback panicked: in a callback");
    assert_eq!(told[0].task, None, "a callback is no task");
}

/// DEBUG-07 (`None` restores the default: here the default is a function that is passed)
fn a_handler_can_be_exchanged_while_the_loop_runs(ctx: &Ctx) {
    let (builder, told) = hearing(ctx.builder());
    run_on(builder, async {
        let this = current();
        let tell = |message: &'static str| this.call_exception_handler(&ErrorContext::new(message));
        let log = Log::new();
        tell("to the builder's");
        this.set_exception_handler(noting(&log));
        tell("to the loop's");
        create_task(async { panic!("of a task") }).detach();
        yield_now().await;
        this.set_exception_handler(default_exception_handler);
        tell("to the default");
        assert_eq!(log.len(), 2);
        assert_eq!(log.all()[0], "to the loop's");
        assert!(log.all()[1].ends_with("it panicked, and nobody awaited it: of a task"), "{:?}", log.all());
    });
    let told = told.lock().expect("no panic");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].message, "to the builder's");
}

fn a_handler_may_exchange_itself(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let first = log.clone();
        current().set_exception_handler(move |context| {
            first.push(format!("first {context}"));
            current().set_exception_handler(noting(&first));
        });
        for message in ["one", "two"] {
            current().call_exception_handler(&ErrorContext::new(message));
        }
        assert_eq!(log.all(), ["first one", "two"]);
    });
}

/// The handler may run in the poll that delivers a request: what it drops there must not take it.
fn a_handler_sees_no_cancel_offer(ctx: &Ctx) {
    ctx.run(async {
        let polled = Rc::new(Cell::new(false));
        let seen = polled.clone();
        current().set_exception_handler(move |_| {
            let mut caught = std::pin::pin!(catch_cancel(pending::<()>()));
            let (_, waker) = crate::harness::probes::CountingWaker::new();
            let taken = caught.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_ready();
            assert!(!taken, "the handler has taken the request of the task that runs");
            seen.set(true);
        });
        let task = create_task(async {
            std::future::poll_fn(|_| {
                if ringloop::current_task().is_some_and(|task| task.cancelling() > 0) {
                    current().call_exception_handler(&ErrorContext::new("in the poll of the offer"));
                }
                std::task::Poll::<()>::Pending
            })
            .await
        });
        yield_now().await;
        task.cancel();
        assert!(task.await.expect_err("nobody handles it").is_cancelled());
        assert!(polled.get());
        current().set_exception_handler(default_exception_handler);
    });
}

/// A subscriber of `tracing` that notes errors, or panics on them.
struct Subscriber {
    said: Arc<Mutex<Vec<String>>>,
    panics: bool,
}

impl Subscriber {
    /// Makes it the process's own, which a trial has to itself.
    fn install(panics: bool) -> Arc<Mutex<Vec<String>>> {
        let said = Arc::new(Mutex::new(Vec::new()));
        let subscriber = Subscriber { said: said.clone(), panics };
        tracing::subscriber::set_global_default(subscriber).expect("it is the first");
        said
    }
}

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, about: &tracing::Metadata<'_>) -> bool {
        *about.level() == tracing::Level::ERROR && about.target() == "ringloop"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.said.lock().expect("it is not held while it panics").push(message.0);
        assert!(!self.panics, "the subscriber panics");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// DEBUG-08
fn a_handler_that_panics_is_told_of_and_the_loop_lives(ctx: &Ctx) {
    let said = Subscriber::install(false);
    let value = run_on(ctx.builder().on_error(|_| panic!("the handler is broken")), async {
        create_task(async { panic!("the task is broken") }).detach();
        once_pending().await;
        "went on"
    });
    assert_eq!(value, "went on");
    let said = said.lock().expect("no panic");
    let [both] = &said[..] else { panic!("the default is told once: {said:?}") };
    assert!(both.contains("the handler is broken") && both.contains("the task is broken"), "{both}");
}

/// DEBUG-08 (the default fails as well: a plain line, and the loop lives)
fn a_default_that_panics_too_leaves_a_line_on_stderr(ctx: &Ctx) {
    let said = Subscriber::install(true);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        ctx.run(async {
            for _ in 0..2 {
                create_task(async { panic!("the task is broken") }).detach();
            }
            once_pending().await;
        });
    }));
    ended.expect("the loop lives");
    let said = said.lock().expect("no panic");
    assert_eq!(said.len(), 4, "each error, and then the panic of the handler: {said:?}");
    assert!(said[1].contains("the subscriber panics") && said[1].contains("the task is broken"), "{said:?}");
}

fn the_text_of_an_error_has_all_that_is_known(_: &Ctx) {
    let mut context = ErrorContext::new("it was lost");
    assert_eq!(context.to_string(), "it was lost");
    context.task = Some("reader".into());
    context.error = Some("disk full".into());
    context.peer = Some(([127, 0, 0, 1], 80).into());
    context.location = Some(std::panic::Location::caller());
    let text = context.to_string();
    let place = "task 'reader': it was lost: disk full (connected with 127.0.0.1:80) (task created at ";
    assert!(text.starts_with(place) && text.ends_with(')'), "{text}");
}

fn a_handler_gets_the_peer_of_a_connection_that_was_reset(ctx: &Ctx) {
    let limits = DetachLimits { streams: 0, ..DetachLimits::default() };
    let (builder, told) = hearing(ctx.builder().detached_writers(limits));
    let mut runner = start(builder);
    let peer = runner
        .run(async {
            let (ours, theirs) = connected().await;
            // More than the kernel takes from a peer that does not read.
            while testing::stats().detached_writers == 0 {
                let mut write = Box::pin(ours.write_all(&[0; 100_000]));
                if crate::harness::probes::poll_once(&mut write).await.is_pending() {
                    break;
                }
            }
            let peer = ours.peer_addr().expect("it is connected");
            drop(ours);
            drop(theirs);
            fs::read("/proc/self/comm").await.expect("the loop goes on");
            peer
        })
        .expect("it runs");
    runner.close().expect("it ends");
    let told = told.lock().expect("no panic");
    let [context] = &told[..] else { panic!("told once: {told:?}") };
    assert_eq!(context.peer, Some(peer));
}
