//! The house keeps its order: arrows between modules point down, the kernel's words and `unsafe` stay in their rooms,
//! each unsafe block names its invariant, nothing unwraps, the compiler warns of a future that nobody awaits.
//!
//! An invariant is stated once, in the head of the module that it belongs to, as `//! * **K1 residence**: ..`; the list in
//! `docs/architecture.md` has them all, and no others. A SAFETY comment names at least one of them.
//!
//! The layers are the blank-line-separated groups of `mod` lines in `src/lib.rs`: a file may use `crate::X` only if X's
//! group is an earlier one, or X is its own top module. A word that the crate root re-exports counts as its home module.
//! The checks read text, not syntax: comments and string literals are taken out first, and what a file says below
//! `#[cfg(test)]` is left alone. The last trial feeds every check a violation and expects it to be seen.

use crate::harness::{Ctx, Trial};
use crate::once;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

pub const TRIALS: &[Trial] = &[
    once!(imports_point_down),
    once!(the_kernels_words_stay_in_ring_and_op),
    once!(unsafe_stays_in_its_rooms_and_names_its_invariant),
    once!(each_invariant_is_stated_once_and_listed),
    once!(nothing_in_src_unwraps),
    once!(the_compiler_warns_of_every_future_that_nobody_awaits),
    once!(each_check_sees_its_violation),
];

/// Where the kernel's own structures may be named.
const KERNEL_ROOMS: &[&str] = &["sys/", "ring/", "op/"];
/// Where `unsafe` may stand.
const UNSAFE_ROOMS: &[&str] = &["sys/", "ring/", "op/", "block.rs", "buf.rs", "executor/task.rs"];

/// Futures of what goes on although nobody awaits it.
const RUN_ANYWAY: &[&str] = &["Task", "Child"];

fn imports_point_down(ctx: &Ctx) {
    let sources = Sources::read(ctx);
    assert!(sources.files.len() > 10, "this is not the crate's src: {:?}", sources.files.keys());
    expect_none(sources.upward_arrows());
}

fn the_kernels_words_stay_in_ring_and_op(ctx: &Ctx) {
    expect_none(Sources::read(ctx).kernel_words_elsewhere());
}

fn unsafe_stays_in_its_rooms_and_names_its_invariant(ctx: &Ctx) {
    expect_none(Sources::read(ctx).unsafe_without_room_or_reason());
}

fn each_invariant_is_stated_once_and_listed(ctx: &Ctx) {
    let sources = Sources::read(ctx);
    expect_none(sources.invariants_stated_twice());
    let stated: BTreeSet<&str> = sources.invariants().map(|(_, title)| title).collect();
    let list = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md"));
    let list = list.expect("docs/architecture.md can be read");
    let listed: BTreeSet<&str> = list.lines().filter_map(|line| invariant_of(line, "* **")).collect();
    assert_eq!(listed, stated, "docs/architecture.md lists others than the modules' heads state");
}

fn nothing_in_src_unwraps(ctx: &Ctx) {
    expect_none(Sources::read(ctx).unwraps());
}

/// DEBUG-05: of the functions that are async it warns by itself.
fn the_compiler_warns_of_every_future_that_nobody_awaits(ctx: &Ctx) {
    let sources = Sources::read(ctx);
    assert!(sources.futures().count() > 20, "{:?}", sources.futures().collect::<Vec<_>>());
    expect_none(sources.futures_that_may_be_forgotten());
}

fn each_check_sees_its_violation(_: &Ctx) {
    let lib = "//! * **K1 residence**: it stays.\nmod error;\npub mod buf;\n\nmod ring;\n\n// what uses them\nmod op;\npub mod net;\n\n\
               pub use error::Cancelled;\npub use net::{TcpStream, lookup as find};\n";
    let check = |path: &str, text: &str| {
        let files =
            BTreeMap::from([("lib.rs".to_owned(), lib.to_owned()), (path.to_owned(), text.to_owned())]);
        Sources { files }
    };
    let upward = |path, text| check(path, text).upward_arrows().len();
    assert_eq!(upward("ring/mod.rs", "use crate::op::Table;"), 1, "a later group");
    assert_eq!(upward("op/mod.rs", "use crate::net::TcpStream;"), 1, "the same group");
    assert_eq!(upward("op/io.rs", "fn f() { crate::net::open(); }"), 1, "a path outside a use line");
    assert_eq!(
        upward("ring/mod.rs", "use crate::{\n    error::Cancelled,\n    net::{a, b},\n    op,\n};"),
        2,
        "a tree"
    );
    assert_eq!(
        upward("ring/a.rs", "use crate::TcpStream;\nuse crate::find;"),
        2,
        "words of the root, also renamed"
    );
    assert_eq!(upward("ring/mod.rs", "use super::net;"), 1, "the root by its other name");
    assert_eq!(upward("ring/mod.rs", "use crate::mystery;"), 1, "a name that is nowhere");
    assert_eq!(
        upward("op/mod.rs", "use crate::op::a;\nuse crate::{Cancelled, ring::R};\n// crate::net"),
        0,
        "all well"
    );
    assert_eq!(
        upward("op/mod.rs", "pub(in crate::op) fn f() {}\n#[cfg(test)]\nmod t {\n use crate::net; }"),
        0,
        "a test"
    );

    let kernel = |path, text| check(path, text).kernel_words_elsewhere().len();
    assert_eq!(kernel("net/mod.rs", "let a = libc::AF_INET;\nuse io_uring::squeue;"), 2);
    assert_eq!(
        kernel("net/mod.rs", "// raw: no home elsewhere\nlet a = libc::AF_INET;\nlet b = 1; // libc::x"),
        0
    );
    assert_eq!(kernel("ring/setup.rs", "let a = libc::AF_INET;"), 0);

    let careless = |path, text| check(path, text).unsafe_without_room_or_reason().len();
    assert_eq!(careless("net/mod.rs", "// SAFETY: K1\nunsafe { f() }"), 1, "no room for it");
    assert_eq!(careless("op/mod.rs", "let a = 1;\nunsafe { f() }\nunsafe impl A for B {}"), 2, "no reason");
    assert_eq!(
        careless("op/mod.rs", "// SAFETY: K1\nlet x =\n    unsafe { f() };\nlet s = \"unsafe { }\";"),
        0
    );
    assert_eq!(careless("op/mod.rs", "// SAFETY: it is ours.\nunsafe { f() }"), 1, "no invariant");
    assert_eq!(
        careless("op/mod.rs", "// SAFETY: K9: it is ours.\nunsafe { f() }"),
        1,
        "one that is not stated"
    );
    assert_eq!(careless("op/mod.rs", "// SAFETY: it stays\n// (K1).\nunsafe { f() }"), 0, "further down");
    assert_eq!(careless("op/mod.rs", "// SAFETY: it stays.\nunsafe { f() } // K1"), 1, "another comment's");
    assert_eq!(careless("lib.rs", "#![deny(unsafe_code)]"), 0);
    let twice = check("op/mod.rs", "//! * **K1 another**: it moves.").invariants_stated_twice();
    assert_eq!(twice.len(), 1, "two meanings of a name");

    assert_eq!(check("op/mod.rs", "a.unwrap();\n/// b.unwrap();\nc.unwrap_or(1);").unwraps().len(), 1);
    assert_eq!(check("op/mod.rs", "#[cfg(test)]\nmod tests {\n a.unwrap(); }").unwraps().len(), 0);

    let forgotten = |text: &str| check("net/mod.rs", text).futures_that_may_be_forgotten().len();
    let future = "impl<T> Future for Nap<T> {";
    assert_eq!(forgotten(&format!("#[derive(Debug)]\npub struct Nap<T> {{}}\n{future}")), 1);
    assert_eq!(
        forgotten(&format!(
            "#[must_use = \"why\"]\n/// A\npub struct Naps {{}}\npub struct Nap<T>;\n{future}"
        )),
        1
    );
    assert_eq!(
        forgotten(&format!(
            "#[must_use = \"why\"]\n#[derive(Debug)]\n// a\npub struct Nap<T> {{}}\n{future}"
        )),
        0
    );
    assert_eq!(forgotten(&format!("struct Nap<T> {{}}\n{future}")), 0, "only ours");
    assert_eq!(forgotten("pub struct Task<T> {}\nimpl<T> Future for Task<T> {"), 0, "it runs all the same");
}

fn expect_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// The crate's sources by path below `src/`.
struct Sources {
    /// Path and text.
    files: BTreeMap<String, String>,
}

impl Sources {
    fn read(ctx: &Ctx) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        if !root.is_dir() {
            ctx.skip("needs the crate's sources, where it was built");
        }
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("src can be read") {
                let path = entry.expect("src can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let below = path.strip_prefix(&root).expect("it lies below src").display().to_string();
                    files.insert(below, fs::read_to_string(&path).expect("src can be read"));
                }
            }
        }
        Sources { files }
    }

    /// Every file's code, without what is there for tests only.
    fn code(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let for_tests: Vec<String> =
            self.files.iter().flat_map(|(path, text)| test_files(path, text)).collect();
        let production =
            self.files.iter().filter(move |(path, _)| !for_tests.iter().any(|place| path.starts_with(place)));
        production.map(|(path, text)| (path.as_str(), code_lines(text)))
    }

    /// The layer of each top module, and the home module of each word that the root re-exports.
    fn map(&self) -> (BTreeMap<String, usize>, BTreeMap<String, String>) {
        let mut layers = BTreeMap::new();
        let mut words = BTreeMap::new();
        let mut layer = 0;
        let text = self.files.get("lib.rs").expect("src has a lib.rs");
        for line in text.lines() {
            if line.trim().is_empty() {
                layer += 1;
            } else if let Some(module) = module_of(line) {
                layers.insert(module.to_owned(), layer);
            }
        }
        for statement in code_lines(text).join("\n").split(';') {
            if let Some(tree) = statement.trim().strip_prefix("pub use ") {
                for (home, word) in leaves(tree.trim_start_matches("crate::")) {
                    words.insert(word, home);
                }
            }
        }
        (layers, words)
    }

    fn upward_arrows(&self) -> Vec<String> {
        let (layers, words) = self.map();
        let mut violations = Vec::new();
        for (path, lines) in self.code().filter(|(path, _)| *path != "lib.rs") {
            let own = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
            let is_top = !path.contains('/') || path == format!("{own}/mod.rs");
            // In a macro `$crate` is the user's way to the root, not ours.
            let text = lines.join("\n").replace("$crate::", "$");
            let mut used = roots(&text, "crate::");
            if is_top {
                used.extend(roots(&text, "super::").into_iter().filter(|name| layers.contains_key(name)));
            }
            for name in used {
                let home = words.get(&name).unwrap_or(&name);
                let fine =
                    home == own || matches!((layers.get(home), layers.get(own)), (Some(a), Some(b)) if a < b);
                if !fine {
                    violations.push(format!(
                        "src/{path} uses crate::{name}: `{home}` does not stand above `{own}`"
                    ));
                }
            }
        }
        violations
    }

    fn kernel_words_elsewhere(&self) -> Vec<String> {
        self.lines_outside(KERNEL_ROOMS, |path, number, line| {
            let named = line.contains("io_uring::") || line.contains("libc::");
            (named && !self.says_nearby(path, number, 1, "raw:")).then_some("names the kernel's structures")
        })
    }

    fn unsafe_without_room_or_reason(&self) -> Vec<String> {
        let mut violations = self.lines_outside(UNSAFE_ROOMS, |_, _, line| {
            has_word(line, "unsafe").then_some("has no room for unsafe")
        });
        let names: Vec<&str> = self.invariants().map(|(_, title)| &title[..2]).collect();
        for (path, lines) in self.code() {
            for (number, line) in lines.iter().enumerate() {
                let claims = line.contains("unsafe {") || line.contains("unsafe impl");
                if claims && !self.says_nearby(path, number, 4, "SAFETY") {
                    violations.push(format!("src/{path}:{}: no SAFETY above: {}", number + 1, line.trim()));
                }
            }
            let text: Vec<&str> = self.files[path].lines().take(lines.len()).map(str::trim).collect();
            for (number, line) in text.iter().enumerate().filter(|(_, line)| line.starts_with("// SAFETY")) {
                let mut reason = text[number..].iter().take_while(|line| line.starts_with("// "));
                if !reason.any(|line| names.iter().any(|name| has_word(line, name))) {
                    violations.push(format!("src/{path}:{}: names no invariant: {line}", number + 1));
                }
            }
        }
        violations
    }

    /// The invariants that the modules' heads state: where, and name and title, as in `K1 residence`.
    fn invariants(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(|(path, text)| {
            text.lines().filter_map(move |line| Some((path.as_str(), invariant_of(line, "//! * **")?)))
        })
    }

    fn invariants_stated_twice(&self) -> Vec<String> {
        let mut homes = BTreeMap::new();
        let stated = self.invariants().map(|(path, title)| (path, &title[..2]));
        stated
            .filter_map(|(path, name)| Some((homes.insert(name, path)?, path, name)))
            .map(|(first, second, name)| format!("src/{first} and src/{second} both state {name}"))
            .collect()
    }

    fn unwraps(&self) -> Vec<String> {
        self.lines_outside(&[], |_, _, line| line.contains(".unwrap()").then_some("unwraps"))
    }

    /// The types that are futures, or become one: the file, its code, and the name.
    fn futures(&self) -> impl Iterator<Item = (&str, Vec<String>, String)> {
        self.code().flat_map(|(path, lines)| {
            let name_of = |line: &String| {
                let (_, after) = line.trim().strip_prefix("impl")?.split_once("Future for ")?;
                Some(after.split(['<', ' ']).next()?.to_owned())
            };
            let names: Vec<String> = lines.iter().filter_map(name_of).collect();
            names.into_iter().map(move |name| (path, lines.clone(), name))
        })
    }

    fn futures_that_may_be_forgotten(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (path, lines, name) in self.futures().filter(|(.., name)| !RUN_ANYWAY.contains(&&**name)) {
            let declared = |line: &String| {
                line.trim().strip_prefix("pub struct ").is_some_and(|rest| {
                    rest.strip_prefix(&*name)
                        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
                })
            };
            let Some(place) = lines.iter().position(declared) else { continue };
            let above = lines[..place].iter().rev().map(|line| line.trim());
            let mut attributes = above.take_while(|line| line.is_empty() || line.starts_with('#'));
            if !attributes.any(|line| line.starts_with("#[must_use")) {
                violations.push(format!("src/{path}:{}: {name} is a future without #[must_use]", place + 1));
            }
        }
        violations
    }

    /// The lines of code outside `rooms` that `judge` objects to.
    fn lines_outside(
        &self,
        rooms: &[&str],
        judge: impl Fn(&str, usize, &str) -> Option<&'static str>,
    ) -> Vec<String> {
        let mut violations = Vec::new();
        for (path, lines) in self.code() {
            if rooms.iter().any(|room| path.starts_with(room)) {
                continue;
            }
            for (number, line) in lines.iter().enumerate() {
                if let Some(objection) = judge(path, number, line) {
                    violations.push(format!("src/{path}:{}: {objection}: {}", number + 1, line.trim()));
                }
            }
        }
        violations
    }

    /// Whether the line itself or one of so many above says `word`, comments included.
    fn says_nearby(&self, path: &str, number: usize, above: usize, word: &str) -> bool {
        let lines = self.files[path].lines().skip(number.saturating_sub(above));
        lines.take(above.min(number) + 1).any(|line| line.contains(word))
    }
}

/// `mod x;` or `pub mod x;`, also with a visibility.
fn module_of(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("mod ")?;
    let declares = before.is_empty() || before.starts_with("pub");
    declares.then(|| after.trim_end().strip_suffix(';')).flatten()
}

/// `K1 residence`, of a line that states or lists an invariant after `bullet`: a letter and a digit, then its title.
fn invariant_of<'a>(line: &'a str, bullet: &str) -> Option<&'a str> {
    let title = line.strip_prefix(bullet)?.split_once("**:")?.0;
    matches!(title.as_bytes(), [b'A'..=b'Z', b'0'..=b'9', b' ', ..]).then_some(title)
}

/// The files and folders that a module declares for its tests: `#[cfg(test)] mod tests;`.
fn test_files(path: &str, text: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut for_tests = false;
    for line in text.lines().map(str::trim) {
        if for_tests && let Some(module) = module_of(line) {
            let folder = path.strip_suffix("mod.rs").map_or_else(|| path.replace(".rs", "/"), str::to_owned);
            let folder = if path == "lib.rs" { String::new() } else { folder };
            files.extend([format!("{folder}{module}.rs"), format!("{folder}{module}/")]);
        }
        for_tests = is_test_gate(line) || (for_tests && line.starts_with('#'));
    }
    files
}

fn is_test_gate(line: &str) -> bool {
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")
}

/// A file's lines up to its tests, without comments and without what stands in string literals.
fn code_lines(text: &str) -> Vec<String> {
    let production = text.lines().zip(text.lines().skip(1).chain([""]));
    let production =
        production.take_while(|(line, next)| !(is_test_gate(line) && next.trim().ends_with('{')));
    production.map(|(line, _)| without_strings_and_comment(line)).collect()
}

fn without_strings_and_comment(line: &str) -> String {
    let mut code = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => drop(characters.next()),
            '\'' if !in_string && characters.peek() == Some(&'"') => {
                // The character literal '"' opens no string.
                characters.next();
                characters.next();
            }
            '"' => {
                in_string = !in_string;
                code.push('"');
            }
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => code.push(character),
        }
    }
    code
}

/// The first names after each `prefix` in the text: one for a path, several for a tree in braces.
fn roots(text: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let continues_a_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if !continues_a_word {
            names.extend(leaves(&text[at + prefix.len()..]).into_iter().map(|(home, _)| home));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// The leaves of a use tree: its first name, and the word it ends in. A tree without braces is a single leaf.
fn leaves(tree: &str) -> Vec<(String, String)> {
    let Some(inside) = tree.strip_prefix('{') else {
        let first: String = tree.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let rest = &tree[first.len()..];
        return match rest.strip_prefix("::") {
            Some(rest) if rest.starts_with('{') => {
                leaves(rest).into_iter().map(|(_, word)| (first.clone(), word)).collect()
            }
            Some(rest) => leaves(rest).into_iter().map(|(_, word)| (first.clone(), word)).collect(),
            None => {
                let renamed = rest.trim_start().strip_prefix("as ").map(|name| leaves(name).remove(0).1);
                vec![(first.clone(), renamed.unwrap_or(first))]
            }
        };
    };
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for character in inside.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is always a last part").push(character);
    }
    parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).flat_map(leaves).collect()
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}
