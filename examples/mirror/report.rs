//! What happened: counted, shown while it happens, and told at the end.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::explain;
use crate::wire::{Entry, Kind};

pub struct Report {
    /// Notes about what is skipped, and the bar, are shown only if this is false; errors always are.
    quiet: bool,
    /// When the mirror began.
    started: Instant,
    /// Bytes received of bytes expected; hidden unless stdout is a terminal.
    bar: ProgressBar,
    /// The files, directories and links in the listing.
    expected: Cell<u64>,
    /// Files that were transferred.
    files: Cell<u64>,
    /// Bytes of content that were transferred.
    bytes: Cell<u64>,
    /// Directories with their final modes and times.
    directories: Cell<u64>,
    /// Links that were made.
    symlinks: Cell<u64>,
    /// Files and links that were in the destination already.
    unchanged: Cell<u64>,
    /// Sockets, devices and fifos: nothing is lost by leaving them out.
    skipped: Cell<u64>,
    /// The most operations that the loop had in flight whenever it was asked.
    most_in_flight: Cell<usize>,
    /// Attempts after the first.
    retries: Cell<u64>,
    /// Attempts at whose end the two ends had different hashes.
    mismatches: Cell<u64>,
    /// What could not be mirrored.
    errors: Cell<u64>,
    /// The error that ends the mirror, if there is one.
    stopped: RefCell<Option<io::Error>>,
}

impl Report {
    pub fn new(quiet: bool) -> Report {
        let bar = if io::stdout().is_terminal() && !quiet {
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stdout())
        } else {
            ProgressBar::hidden()
        };
        let shape = "{bar:32} {percent:>3}%  {msg}  {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}";
        bar.set_style(
            ProgressStyle::with_template(shape).expect("the template is a constant, and well-formed"),
        );
        Report {
            quiet,
            started: Instant::now(),
            bar,
            expected: Cell::default(),
            files: Cell::default(),
            bytes: Cell::default(),
            directories: Cell::default(),
            symlinks: Cell::default(),
            unchanged: Cell::default(),
            skipped: Cell::default(),
            most_in_flight: Cell::default(),
            retries: Cell::default(),
            mismatches: Cell::default(),
            errors: Cell::default(),
            stopped: RefCell::default(),
        }
    }

    /// The listing has `entry`: somewhere it must be counted in the end.
    pub fn expect(&self, entry: &Entry) {
        add(&self.expected, 1);
        if entry.kind == Kind::File {
            self.bar.inc_length(entry.attributes.len);
        }
    }

    /// So many bytes have arrived.
    pub fn progress(&self, bytes: u64) {
        add(&self.bytes, bytes);
        self.bar.inc(bytes);
        self.look();
    }

    /// So many bytes that arrived are worth nothing, for the attempt failed.
    pub fn retract(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() - bytes);
        self.bar.dec(bytes);
    }

    pub fn done(&self, entry: &Entry) {
        self.look();
        match entry.kind {
            Kind::Directory => add(&self.directories, 1),
            Kind::Symlink(_) => add(&self.symlinks, 1),
            Kind::File => {
                add(&self.files, 1);
                self.bar.set_message(format!("{} files", thousands(self.files.get())));
            }
        }
    }

    pub fn unchanged(&self, entry: &Entry) {
        add(&self.unchanged, 1);
        self.look();
        if entry.kind == Kind::File {
            self.bar.inc(entry.attributes.len);
        }
    }

    pub fn skipped(&self, path: &Path, what: &str) {
        add(&self.skipped, 1);
        if !self.quiet {
            self.say(format_args!("skipped: {path:?}: {what}"));
        }
    }

    pub fn failed(&self, path: &Path, why: &str) {
        add(&self.errors, 1);
        self.say(format_args!("error: {path:?}: {why}"));
    }

    pub fn retried(&self) {
        add(&self.retries, 1);
    }

    pub fn mismatch(&self) {
        add(&self.mismatches, 1);
    }

    /// Ends the mirror: only the first such error is told, the others have the same cause.
    pub fn stop(&self, path: &Path, error: io::Error) {
        if self.stopped.borrow().is_none() {
            add(&self.errors, 1);
            self.stopped.replace(Some(explain(format_args!("{path:?}"), error)));
        }
    }

    /// The error that ends the mirror, if there is one.
    pub fn check_stopped(&self) -> io::Result<()> {
        match &*self.stopped.borrow() {
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(()),
        }
    }

    /// Nothing went wrong, and nothing in the listing was forgotten.
    pub fn is_complete(&self) -> bool {
        let reached = [&self.files, &self.directories, &self.symlinks, &self.unchanged].map(Cell::get);
        self.errors.get() == 0 && reached.iter().sum::<u64>() == self.expected.get()
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Asks the loop how much it has in flight.
    fn look(&self) {
        let in_flight = ringloop::testing::stats().operations;
        self.most_in_flight.set(self.most_in_flight.get().max(in_flight));
    }

    /// Prints a line without disturbing the bar.
    fn say(&self, line: fmt::Arguments<'_>) {
        self.bar.suspend(|| eprintln!("mirror: {line}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.started.elapsed().as_secs_f64();
        let bytes = self.bytes.get();
        let mut row = |name: &str, value: String| writeln!(out, "{name:<26}{value:>18}");
        row("files", thousands(self.files.get()))?;
        row("directories", thousands(self.directories.get()))?;
        row("symlinks", thousands(self.symlinks.get()))?;
        row("bytes", thousands(bytes))?;
        row("seconds", format!("{seconds:.2}"))?;
        row("MB/s", format!("{:.1}", bytes as f64 / 1e6 / seconds))?;
        row("most operations in flight", thousands(self.most_in_flight.get() as u64))?;
        row("retries", thousands(self.retries.get()))?;
        row("mismatches", thousands(self.mismatches.get()))?;
        row("unchanged", thousands(self.unchanged.get()))?;
        row("skipped", thousands(self.skipped.get()))?;
        row("errors", thousands(self.errors.get()))
    }
}

fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get() + n);
}

/// 1234567 as `1,234,567`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn large_numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(super::thousands(n), text);
        }
    }
}
