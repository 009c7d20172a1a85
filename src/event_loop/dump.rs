//! What the tasks of a loop do, as text: a table, a tree of who awaits whom, and the way up from one task.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use super::debug::rounded;
use super::{EventLoop, running};
use crate::executor::{TaskRef, all_tasks};
use crate::waiting::Waiting;

/// The running loop's tasks as a table: name, state, what each waits for and for how long, how often it was polled and for
/// how long in all, where it was created. Empty outside of a loop.
///
/// Only debug mode knows more than name and state. What a task waits for is what its last poll found: an operation with its
/// descriptor, a timer, a lock, a queue, tasks; futures of other crates do not say. Two that wait for the same lock show the
/// same address.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut runner = ringloop::Builder::new().debug(true).build()?;
/// runner.run(async {
///     let reader = ringloop::TaskBuilder::new().name("reader").create_task(std::future::pending::<()>());
///     let dump = ringloop::dump_tasks();
///     assert!(dump.contains("reader") && dump.contains("main"));
///     reader.abort();
/// })?;
/// # Ok(()) }
/// ```
pub fn dump_tasks() -> String {
    running().map(|event_loop| table(&event_loop)).unwrap_or_default()
}

/// The running loop's tasks as a tree: below each task those that it awaits. Empty outside of a loop.
///
/// Only debug mode knows who awaits whom; without it all stand side by side. A task that several await is shown in full
/// once. Tasks that await each other in a circle are reported.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut runner = ringloop::Builder::new().debug(true).build()?;
/// runner.run(async {
///     let parent = ringloop::TaskBuilder::new().name("parent").create_task(async {
///         ringloop::TaskBuilder::new().name("child").create_task(std::future::pending::<()>()).await
///     });
///     ringloop::yield_now().await;
///     assert!(ringloop::dump_task_tree().contains("parent\n└── child"), "{}", ringloop::dump_task_tree());
///     parent.abort();
/// })?;
/// # Ok(()) }
/// ```
pub fn dump_task_tree() -> String {
    match running() {
        Some(_) => Forest::of(all_tasks()).to_string(),
        None => String::new(),
    }
}

/// Who awaits a task, who awaits those, and so on. (asyncio: `FutureCallGraph`.)
///
/// Its text is what [`print_call_graph`] prints.
#[derive(Clone, Debug)]
pub struct CallGraph {
    task: TaskRef,
    /// What there was to say of it.
    text: String,
    awaited_by: Vec<CallGraph>,
    /// It stands further up already.
    is_cycle: bool,
}

/// Who awaits `task`, and who awaits those. Only debug mode knows; without it nobody does.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut runner = ringloop::Builder::new().debug(true).build()?;
/// runner.run(async {
///     let child = ringloop::create_task(std::future::pending::<()>());
///     let inside = child.task_ref();
///     let parent = ringloop::TaskBuilder::new().name("parent").create_task(child);
///     ringloop::yield_now().await;
///     let graph = ringloop::capture_call_graph(&inside);
///     assert_eq!(&*graph.awaited_by()[0].task().name(), "parent");
///     inside.abort();
///     parent.abort();
/// })?;
/// # Ok(()) }
/// ```
pub fn capture_call_graph(task: &TaskRef) -> CallGraph {
    CallGraph::above(task, &mut Vec::new())
}

/// Prints who awaits `task`, and who awaits those, to standard output; see [`capture_call_graph`].
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async { ringloop::print_call_graph(&ringloop::current_task().unwrap()) })
/// # }
/// ```
pub fn print_call_graph(task: &TaskRef) {
    print!("{}", capture_call_graph(task));
}

impl CallGraph {
    fn above(task: &TaskRef, path: &mut Vec<TaskRef>) -> CallGraph {
        let is_cycle = path.iter().any(|below| below.same(task));
        let mut awaited_by = Vec::new();
        if !is_cycle {
            path.push(task.clone());
            awaited_by.extend(task.awaiters().iter().map(|awaiter| CallGraph::above(awaiter, path)));
            path.pop();
        }
        CallGraph { task: task.clone(), text: format!("{task:?}"), awaited_by, is_cycle }
    }

    /// The task.
    pub fn task(&self) -> &TaskRef {
        &self.task
    }

    /// The tasks that await it. Empty where the way up comes back to a task that it has passed.
    pub fn awaited_by(&self) -> &[CallGraph] {
        &self.awaited_by
    }

    /// Whether the way up has come back here: the tasks between wait for each other, and none will ever go on.
    pub fn is_cycle(&self) -> bool {
        self.is_cycle
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let note = if self.is_cycle { ": in a circle, see above" } else { "" };
        writeln!(f, "{:indent$}{}{note}", "", self.text, indent = depth * 4)?;
        if !self.awaited_by.is_empty() {
            writeln!(f, "{:indent$}  awaited by", "", indent = depth * 4)?;
        }
        self.awaited_by.iter().try_for_each(|awaiter| awaiter.write(f, depth + 1))
    }
}

impl fmt::Display for CallGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// A task's state in a word, its turn included.
fn state(task: &TaskRef) -> &'static str {
    match task.state() {
        "pending" if task.is_ready() => "ready",
        state => state,
    }
}

/// What a task waits for, by the time of its loop.
fn waits(waits: &[Waiting], now: Instant) -> String {
    let one = |waiting: &Waiting| match waiting {
        Waiting::Timer(at) => match at.saturating_duration_since(now) {
            Duration::ZERO => "a timer that is due".to_owned(),
            left => format!("a timer in {:?}", rounded(left)),
        },
        other => other.to_string(),
    };
    // A task of ten thousand futures must not fill the page.
    let (shown, rest) = waits.split_at(waits.len().min(8));
    let mut words: Vec<String> = shown.iter().map(one).collect();
    if !rest.is_empty() {
        words.push(format!("{} more", rest.len()));
    }
    words.join(", ")
}

/// The table of a loop's tasks.
pub(super) fn table(event_loop: &EventLoop) -> String {
    let now = event_loop.reactor.now();
    let mut rows =
        vec![["NAME", "STATE", "WAITS FOR", "SINCE", "POLLS", "BUSY", "CREATED AT"].map(str::to_owned)];
    for task in event_loop.executor.all_tasks() {
        let location = task.location().map(|location| location.to_string()).unwrap_or_default();
        let [waits, since, polls, busy] = match task.record() {
            Some(record) => [
                waits(&record.waits, now),
                format!("{:?}", rounded(record.since.elapsed())),
                record.polls.to_string(),
                format!("{:?}", rounded(record.busy)),
            ],
            None => Default::default(),
        };
        rows.push([task.name().to_string(), state(&task).to_owned(), waits, since, polls, busy, location]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Tasks and who awaits whom.
pub(super) struct Forest {
    tasks: Vec<TaskRef>,
    /// Of each, by index: those that it awaits.
    awaits: Vec<Vec<usize>>,
    /// Of each, whether a task awaits it.
    is_awaited: Vec<bool>,
}

impl Forest {
    pub(super) fn of(tasks: Vec<TaskRef>) -> Forest {
        let mut awaits = vec![Vec::new(); tasks.len()];
        let mut is_awaited = vec![false; tasks.len()];
        for (index, task) in tasks.iter().enumerate() {
            for awaiter in task.awaiters() {
                // They are sorted by number.
                if let Ok(above) = tasks.binary_search_by_key(&awaiter.id(), TaskRef::id) {
                    awaits[above].push(index);
                    is_awaited[index] = true;
                }
            }
        }
        Forest { tasks, awaits, is_awaited }
    }

    /// One line, and those below it. `before` leads the lines below; `path` is the way down.
    fn write(&self, f: &mut fmt::Formatter<'_>, at: usize, before: &str, walk: &mut Walk) -> fmt::Result {
        let name = self.tasks[at].name();
        if let Some(start) = walk.path.iter().position(|&above| above == at) {
            walk.cycles.push(walk.path[start..].to_vec());
            return writeln!(f, "{name}: in a circle, see above");
        }
        if std::mem::replace(&mut walk.is_shown[at], true) {
            return writeln!(f, "{name}: see above");
        }
        writeln!(f, "{name}")?;
        walk.path.push(at);
        let below = &self.awaits[at];
        for (number, &task) in below.iter().enumerate() {
            let last = number + 1 == below.len();
            write!(f, "{before}{}", if last { "└── " } else { "├── " })?;
            let before = format!("{before}{}", if last { "    " } else { "│   " });
            self.write(f, task, &before, walk)?;
        }
        walk.path.pop();
        Ok(())
    }
}

/// Where a walk through a forest is, and what it has seen.
struct Walk {
    path: Vec<usize>,
    is_shown: Vec<bool>,
    cycles: Vec<Vec<usize>>,
}

impl fmt::Display for Forest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.tasks.len();
        let mut walk = Walk { path: Vec::new(), is_shown: vec![false; count], cycles: Vec::new() };
        for root in (0..count).filter(|&task| !self.is_awaited[task]) {
            self.write(f, root, "", &mut walk)?;
        }
        // What hangs on no root hangs on a circle.
        for task in 0..count {
            if !walk.is_shown[task] {
                self.write(f, task, "", &mut walk)?;
            }
        }
        for cycle in &walk.cycles {
            let names: Vec<_> =
                cycle.iter().chain(&cycle[..1]).map(|&task| self.tasks[task].name()).collect();
            writeln!(f, "waiting for each other: {}", names.join(" -> "))?;
        }
        Ok(())
    }
}
