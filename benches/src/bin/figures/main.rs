//! `figures [PART..]`: measures, and writes the tables of `docs/figures.md`. Parts: calls, allocations, unsafe, cpu.
//!
//! Each part gives a text that replaces what stands between its two marks in the document. What cannot be done on a machine
//! is skipped, with the reason there and on the terminal. The status is 1 if a check fails: an operation allocates that
//! should not, or an unsafe block has no reason.

mod allocations;
mod calls;
mod census;
mod cpu;

use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringloop_benches::contender::ALL;
use ringloop_benches::count::Counting;
use ringloop_benches::{Echo, Reads, Span, Workload};

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a part has found.
struct Part {
    /// Markdown.
    text: String,
    /// What a check objects to.
    objections: Vec<String>,
}

/// What all parts work with.
struct Setting {
    /// ringloop's own folder.
    root: PathBuf,
    /// Where files may be made; gone at the end.
    scratch: PathBuf,
}

impl Setting {
    /// A file of blocks to read, made on first use.
    fn blocks(&self) -> std::io::Result<PathBuf> {
        let file = self.scratch.join("blocks");
        if !file.exists() {
            ringloop_benches::make_blocks(&file)?;
        }
        Ok(file)
    }

    fn echo(&self, connections: usize, span: Span) -> Workload {
        Workload::Echo(Echo { size: 64, connections, span })
    }

    fn reads(&self, depth: usize, span: Span) -> std::io::Result<Workload> {
        Ok(Workload::Reads(Reads { file: self.blocks()?, depth, span }))
    }
}

type Make = fn(&Setting) -> Result<Part, Box<dyn Error>>;
const PARTS: [(&str, Make); 4] = [
    ("calls", calls::make),
    ("allocations", allocations::make),
    ("unsafe", census::make),
    ("cpu", cpu::make),
];

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| PARTS.iter().all(|(name, _)| name != wanted)) {
        return Err(format!("no part '{unknown}'; the parts are calls, allocations, unsafe, cpu").into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("benches lies in a folder").to_owned();
    // On the disk the crate lies on, because the ring treats files of a tmpfs quite differently.
    let scratch = root.join("benches/target/figures");
    std::fs::create_dir_all(&scratch)?;
    let setting = Setting { root, scratch };
    let result = write_parts(&setting, &wanted);
    std::fs::remove_dir_all(&setting.scratch)?;
    let objections = result?;
    for objection in &objections {
        eprintln!("FAILED: {objection}");
    }
    if !objections.is_empty() {
        std::process::exit(1);
    }
    Ok(())
}

fn write_parts(setting: &Setting, wanted: &[String]) -> Result<Vec<String>, Box<dyn Error>> {
    let path = setting.root.join("docs/figures.md");
    let mut objections = Vec::new();
    for (name, make) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("-- {name}");
        let part = make(setting)?;
        println!("{}", part.text);
        objections.extend(part.objections);
        let text = format!("Made by `scripts/figures {name}` on {}.\n\n{}", machine(), part.text.trim_end());
        let document = std::fs::read_to_string(&path)?;
        std::fs::write(&path, replaced(&document, name, &text)?)?;
    }
    Ok(objections)
}

/// The document with this text between the marks of that name.
fn replaced(document: &str, name: &str, text: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let missing =
        || format!("docs/figures.md has no place for '{name}': {begin} and {end}, in lines of their own");
    let (before, rest) = document.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{text}\n{end}{after}"))
}

/// What figures depend on.
fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = processors.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let guest = if processors.contains(" hypervisor") { ", virtual" } else { "" };
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let compiler = Command::new("rustc").arg("--version").output().ok();
    let compiler = compiler.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let compiler = compiler.split(" (").next().unwrap_or_default();
    format!("Linux {}, {count} cores ({model}{guest}), {compiler}", kernel.trim())
}

/// A table; the first column is text, the others are numbers unless they end in a space.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule: Vec<String> = head.iter().enumerate().map(|(at, cell)| rule(at, cell)).collect();
    let rows: String = rows.into_iter().map(|cells| line(&cells)).collect();
    format!("{}{}{rows}", line(&head), line(&rule))
}

fn rule(at: usize, head: &str) -> String {
    if at == 0 || head.ends_with(' ') { "---".into() } else { "---:".into() }
}

/// Says that something was skipped, and gives the same for the document.
fn skipped(what: impl Display, why: impl Display) -> String {
    eprintln!("SKIP: {what}: {why}");
    format!("Skipped: {what}: {why}.\n")
}

/// The names of all contenders.
fn names() -> impl Iterator<Item = &'static str> {
    ALL.into_iter().map(|contender| contender.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_written_between_its_marks() {
        let document = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin y --><!-- end y -->";
        let expected = "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n<!-- begin y --><!-- end y -->";
        assert_eq!(replaced(document, "x", "new").as_deref(), Ok(expected));
        assert!(replaced(document, "z", "new").is_err());
    }

    #[test]
    fn numbers_stand_on_the_right() {
        let text = table(&["what", "number", "words "], [vec!["a".into(), "1".into(), "b".into()]]);
        assert_eq!(text, "| what | number | words  |\n| --- | ---: | --- |\n| a | 1 | b |\n");
    }
}
