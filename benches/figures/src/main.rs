//! `figures [--check] [PART..]`: measures, and writes the tables of `docs/figures.md`. Parts: calls, allocations, unsafe. With
//! `--check` they are only printed.
//!
//! Each part gives a text that replaces what stands between its two marks in the document. What cannot be done on a machine
//! is skipped, with the reason there and on the terminal. The status is 1 if a check fails: an operation allocates that
//! should not, or an unsafe block has no reason.

mod allocations;
mod calls;
mod census;
mod count;

use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;

use count::Counting;
use ringloop_benches::document::write_part;
use ringloop_benches::machine;

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

type Make = fn(&Setting) -> Result<Part, Box<dyn Error>>;
const PARTS: [(&str, Make); 3] =
    [("calls", calls::make), ("allocations", allocations::make), ("unsafe", census::make)];

fn main() -> Result<(), Box<dyn Error>> {
    let (options, wanted): (Vec<String>, _) = std::env::args().skip(1).partition(|word| word == "--check");
    let only_check = !options.is_empty();
    if let Some(unknown) = wanted.iter().find(|wanted| PARTS.iter().all(|(name, _)| name != wanted)) {
        return Err(format!("no part '{unknown}'; the parts are calls, allocations, unsafe").into());
    }
    let root = machine::repository().to_owned();
    // On the disk the crate lies on, because the ring treats files of a tmpfs quite differently.
    let scratch = root.join("benches/target/figures");
    std::fs::create_dir_all(&scratch)?;
    let setting = Setting { root, scratch };
    let result = make_parts(&setting, &wanted, only_check);
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

fn make_parts(setting: &Setting, wanted: &[String], only_check: bool) -> Result<Vec<String>, Box<dyn Error>> {
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
        if only_check {
            continue;
        }
        let text = format!("Made by `scripts/figures {name}` on {}.\n\n{}", machine::describe(), part.text);
        write_part(&path, name, &text)?;
    }
    Ok(objections)
}

/// Says that something was skipped, and gives the same for the document.
fn skipped(what: impl Display, why: impl Display) -> String {
    eprintln!("SKIP: {what}: {why}");
    format!("Skipped: {what}: {why}.\n")
}
