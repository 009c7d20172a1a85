//! The unsafe blocks of ringloop's sources: how many, where, how long, and whether each says why it is sound.
//!
//! The sources are read as tokens, so words in comments and strings count for nothing, and what stands under `#[cfg(test)]`
//! is left out. A block needs a comment with `SAFETY:` and a reason: on its line, or right above the statement it stands in.
//! A comment that begins with `SAFETY (all six)` speaks for the next six. So does an unsafe implementation. Unsafe functions
//! and traits are counted; what they ask of their callers is documented, and clippy looks after that. The reason names one of
//! the invariants that the modules' heads state, as `//! * **K1 residence**: ..`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

use ringloop_benches::document::table;

use super::{Part, Setting};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Block,
    Function,
    Implementation,
    Trait,
}

/// One use of the word.
#[derive(Debug)]
struct Use {
    kind: Kind,
    /// The line of the word, from 1.
    line: usize,
    /// Lines from the word to the closing brace.
    lines: usize,
}

/// What a file has.
#[derive(Default)]
struct File {
    /// Whether each line, from 1, has code on it.
    code: Vec<bool>,
    uses: Vec<Use>,
    /// Modules that exist for tests only, by name.
    for_tests: Vec<String>,
}

impl File {
    fn read(text: &str) -> Result<File, String> {
        let tokens = TokenStream::from_str(text).map_err(|error| error.to_string())?;
        let mut file = File { code: vec![false; text.lines().count() + 2], ..File::default() };
        file.walk(tokens);
        Ok(file)
    }

    fn note(&mut self, span: Span) {
        for line in span.start().line..=span.end().line {
            if let Some(line) = self.code.get_mut(line) {
                *line = true;
            }
        }
    }

    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if let Some((attribute, length)) = attribute(&tokens[at..]) {
                if is_for_tests(&attribute) {
                    at += length;
                    at += self.skip_item(&tokens[at..]);
                    continue;
                }
                if attribute.starts_with("doc =") {
                    at += length;
                    continue;
                }
            }
            match &tokens[at] {
                TokenTree::Group(group) => {
                    self.note(group.span_open());
                    self.note(group.span_close());
                    self.walk(group.stream());
                }
                token => {
                    self.note(token.span());
                    if is_word(token, "unsafe") {
                        self.uses.extend(kind(&tokens[at + 1..]).map(|(kind, end)| {
                            let line = token.span().start().line;
                            Use { kind, line, lines: end.map_or(1, |end| end - line + 1) }
                        }));
                    }
                }
            }
            at += 1;
        }
    }

    /// The tokens of an item that is left out.
    fn skip_item(&mut self, tokens: &[TokenTree]) -> usize {
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return at + 1,
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    if let [.., TokenTree::Ident(word), TokenTree::Ident(name)] = &tokens[..at]
                        && *word == "mod"
                    {
                        self.for_tests.push(name.to_string());
                    }
                    return at + 1;
                }
                _ => {}
            }
        }
        tokens.len()
    }
}

/// The attribute at the front, without its brackets, and how many tokens it is.
fn attribute(tokens: &[TokenTree]) -> Option<(String, usize)> {
    let is = |at: usize, wanted| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
    let at = if is(0, '#') && is(1, '!') { 2 } else { 1 };
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if is(0, '#') && group.delimiter() == Delimiter::Bracket => {
            Some((group.stream().to_string(), at + 1))
        }
        _ => None,
    }
}

fn is_for_tests(attribute: &str) -> bool {
    let attribute: String = attribute.split_whitespace().collect();
    attribute == "cfg(test)" || attribute.starts_with("cfg(all(test,")
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// What the word `unsafe` begins, by what follows it, and the last line of a block. None: a function's type or an attribute.
fn kind(after: &[TokenTree]) -> Option<(Kind, Option<usize>)> {
    match after {
        [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Brace => {
            Some((Kind::Block, Some(group.span_close().end().line)))
        }
        [word, TokenTree::Ident(_), ..] if is_word(word, "fn") => Some((Kind::Function, None)),
        [word, ..] if is_word(word, "impl") => Some((Kind::Implementation, None)),
        [word, ..] if is_word(word, "trait") => Some((Kind::Trait, None)),
        _ => None,
    }
}

impl Kind {
    /// Whether it is a claim, that something asked for is so, and not the asking.
    fn is_claim(self) -> bool {
        matches!(self, Kind::Block | Kind::Implementation)
    }
}

/// The reasons of a file's claims, in order; None where there is none.
fn reasons<'a>(text: &str, uses: &'a [Use]) -> Vec<(&'a Use, Option<String>)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // Of the last comment that speaks for several: its reason, and for how many more.
    let mut group: (String, usize) = Default::default();
    let mut looked_at = 0;
    uses.iter()
        .filter(|found| found.kind.is_claim())
        .map(|found| {
            for (number, line) in lines[..found.line].iter().enumerate().skip(looked_at) {
                if let Some(count) = line.split_once("SAFETY").and_then(|(_, rest)| number_word(rest)) {
                    group = (comment_round(&lines, number), count);
                }
            }
            looked_at = found.line;
            let own = above(&lines, found.line - 1).filter(|comment| is_reason(comment));
            let shared = (group.1 > 0).then(|| group.0.clone());
            group.1 = group.1.saturating_sub(1);
            (found, own.or(shared))
        })
        .collect()
}

/// ` (all six): ..`, `: (both) ..`
fn number_word(text: &str) -> Option<usize> {
    let words = ["both", "all three", "all four", "all five", "all six", "all seven", "all eight"];
    let named = text.trim_start_matches([':', ' ']).strip_prefix('(')?.split(')').next()?;
    words.iter().position(|word| *word == named).map(|at| at + 2)
}

/// The comment on the line, or above the statement or item that the line belongs to.
fn above(lines: &[&str], line: usize) -> Option<String> {
    if let Some((_, comment)) = lines[line].split_once("// ") {
        return Some(comment.to_owned());
    }
    let mut at = line;
    while at > 0 {
        let before = lines[at - 1];
        if before.starts_with("//") {
            return Some(comment_round(lines, at - 1));
        }
        let goes_on =
            !before.is_empty() && (before.starts_with("#[") || !before.ends_with([';', '{', '}', ',']));
        if !goes_on {
            return None;
        }
        at -= 1;
    }
    None
}

/// The whole comment that this line of a comment belongs to.
fn comment_round(lines: &[&str], line: usize) -> String {
    let is_comment = |line: &&&str| line.starts_with("//");
    let before = lines[..line].iter().rev().take_while(is_comment).count();
    let after = lines[line..].iter().take_while(is_comment).count();
    let text = lines[line - before..line + after].iter().map(|line| line.trim_start_matches('/').trim());
    text.collect::<Vec<_>>().join(" ")
}

/// Whether a comment gives a reason: the word and a few others behind it.
fn is_reason(comment: &str) -> bool {
    comment.find("SAFETY").is_some_and(|at| comment[at..].split_whitespace().count() > 2)
}

/// The names of the invariants that a module's head states.
fn stated(text: &str) -> impl Iterator<Item = &str> {
    let titles = text.lines().filter_map(|line| line.strip_prefix("//! * **")?.split_once("**:"));
    titles
        .filter_map(|(title, _)| title.split_once(' '))
        .map(|(name, _)| name)
        .filter(|name| matches!(name.as_bytes(), [b'A'..=b'Z', b'0'..=b'9']))
}

fn names_invariant(reason: &str, invariants: &[&str]) -> bool {
    reason.split(|c: char| !c.is_alphanumeric()).any(|word| invariants.contains(&word))
}

/// The sources below a folder, by path.
fn sources(folder: &Path, below: &str, into: &mut BTreeMap<String, String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (path, name) =
            entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))?;
        if path.is_dir() {
            sources(&path, &format!("{below}{name}/"), into)?;
        } else if name.ends_with(".rs") {
            into.insert(format!("{below}{name}"), fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// What a folder has.
#[derive(Clone, Copy, Default)]
struct Sum {
    files: usize,
    code: usize,
    blocks: usize,
    block_lines: usize,
    others: usize,
    reasons: usize,
}

impl Sum {
    fn cells(&self) -> Vec<String> {
        let Sum { files, code, blocks, block_lines, others, reasons } = *self;
        [files, code, blocks, block_lines, others, reasons].map(|number| number.to_string()).into()
    }

    fn plus(self, other: Sum) -> Sum {
        Sum {
            files: self.files + other.files,
            code: self.code + other.code,
            blocks: self.blocks + other.blocks,
            block_lines: self.block_lines + other.block_lines,
            others: self.others + other.others,
            reasons: self.reasons + other.reasons,
        }
    }
}

pub(super) fn make(setting: &Setting) -> Result<Part, Box<dyn Error>> {
    let mut texts = BTreeMap::new();
    sources(&setting.root.join("src"), "", &mut texts)?;
    let invariants: Vec<&str> = texts.values().flat_map(|text| stated(text)).collect();
    let mut files = BTreeMap::new();
    let mut for_tests = Vec::new();
    for (path, text) in &texts {
        let file = File::read(text).map_err(|error| format!("src/{path}: {error}"))?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let stem = path.trim_end_matches(".rs");
        for name in &file.for_tests {
            for place in [format!("{folder}/{name}"), format!("{stem}/{name}")] {
                let place = place.trim_start_matches('/').to_owned();
                for_tests.extend([format!("{place}.rs"), format!("{place}/")]);
            }
        }
        files.insert(path, (file, text));
    }
    let mut folders: BTreeMap<&str, Sum> = BTreeMap::new();
    let mut objections = Vec::new();
    for (path, (file, text)) in files {
        if for_tests.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        let mut sum = Sum { files: 1, code: file.code.iter().filter(|has| **has).count(), ..Sum::default() };
        for found in &file.uses {
            match found.kind {
                Kind::Block => {
                    sum.blocks += 1;
                    sum.block_lines += found.lines;
                }
                _ => sum.others += 1,
            }
        }
        for (found, reason) in reasons(text, &file.uses) {
            match reason {
                None => {
                    objections.push(format!("src/{path}:{}: no SAFETY comment with a reason", found.line))
                }
                Some(reason) if names_invariant(&reason, &invariants) => sum.reasons += 1,
                Some(_) => {
                    objections.push(format!("src/{path}:{}: the reason names no invariant", found.line))
                }
            }
        }
        let folder = path.split_once('/').map_or("", |(folder, _)| folder);
        let total = folders.entry(folder).or_default();
        *total = total.plus(sum);
    }
    let all = folders.values().fold(Sum::default(), |all, sum| all.plus(*sum));
    let mut lines: Vec<Vec<String>> = folders
        .iter()
        .map(|(folder, sum)| [format!("`src/{folder}`")].into_iter().chain(sum.cells()).collect())
        .collect();
    lines.push(["all".to_owned()].into_iter().chain(all.cells()).collect());
    let head = [
        "folder",
        "files",
        "lines of code",
        "unsafe blocks",
        "lines in them",
        "unsafe fn, impl, trait",
        "reasons that name an invariant",
    ];
    let verdict = match objections.len() {
        0 => format!(
            "Every unsafe block and implementation has a SAFETY comment that names one of the {} invariants.",
            invariants.len()
        ),
        count => format!("{count} without: {}.", objections.join(", ")),
    };
    Ok(Part { text: format!("{}\n{verdict}\n", table(&head, lines)), objections })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        File::read(text).expect("it is Rust").uses.iter().map(|found| found.kind).collect()
    }

    fn missing(text: &str) -> usize {
        let file = File::read(text).expect("it is Rust");
        reasons(text, &file.uses).iter().filter(|(_, reason)| reason.is_none()).count()
    }

    #[test]
    fn words_in_comments_strings_types_and_tests_do_not_count() {
        let text = r##"
            //! unsafe { }
            #![deny(unsafe_code)]
            fn f() { let s = "unsafe { }"; /* unsafe { } */ }
            struct S { drop: unsafe fn(u8) }
            #[cfg(test)]
            mod tests { fn g() { unsafe { h() } } }
        "##;
        assert_eq!(kinds(text), []);
        let text =
            "unsafe fn f() { unsafe { g() } }\nunsafe impl A for B {}\nunsafe trait A { }\nm!(unsafe { 1 });";
        assert_eq!(
            kinds(text),
            [Kind::Function, Kind::Block, Kind::Implementation, Kind::Trait, Kind::Block]
        );
    }

    #[test]
    fn lines_of_code_are_those_with_tokens() {
        let text = "//! head\n\n/// doc\nfn f() {\n    // why\n    let s = \"a\n    b\";\n}\n";
        let file = File::read(text).expect("it is Rust");
        let lines: Vec<usize> = (1..file.code.len()).filter(|&line| file.code[line]).collect();
        assert_eq!(lines, [4, 6, 7, 8]);
    }

    #[test]
    fn a_reason_stands_on_the_line_or_above_the_statement() {
        assert_eq!(missing("fn f() {\n// SAFETY: K1 holds.\nunsafe { g() } }"), 0);
        assert_eq!(missing("fn f() {\n// SAFETY: K1\n// holds.\nlet x =\n    a(|| unsafe { g() });\n}"), 0);
        assert_eq!(missing("fn f() {\nunsafe { g() } // SAFETY: K1 holds.\n}"), 0);
        assert_eq!(missing("// SAFETY: plain data only.\n#[cfg(all())]\nunsafe impl A for B {}"), 0);
    }

    #[test]
    fn what_has_no_reason_is_seen() {
        assert_eq!(missing("fn f() { unsafe { g() } }"), 1);
        assert_eq!(missing("fn f() {\n// quick\nunsafe { g() } }"), 1);
        assert_eq!(missing("fn f() {\n// SAFETY:\nunsafe { g() } }"), 1);
        assert_eq!(
            missing("fn f() {\n// SAFETY: K1 holds.\nunsafe { g() }\nunsafe { h() } }"),
            1,
            "one comment, two blocks"
        );
        assert_eq!(
            missing("fn f() {\n// SAFETY: K1 holds.\nlet a = 1;\nunsafe { g() } }"),
            1,
            "of another statement"
        );
        assert_eq!(missing("unsafe impl A for B {}"), 1);
    }

    #[test]
    fn a_comment_may_speak_for_several_and_for_no_more() {
        let text = "// SAFETY (both): the block is ours.\nconst A: B = B { a: || unsafe { f() },\nb: || unsafe { g() },\nc: || unsafe { h() } };";
        assert_eq!(missing(text), 1);
    }

    #[test]
    fn invariants_are_named_by_word() {
        let head = "//! The table.\n//!\n//! * **T1 thread**: one.\n//! * **Not one**: this.\n//! (**K1**)";
        let known: Vec<&str> = stated(head).collect();
        assert_eq!(known, ["T1"]);
        assert!(names_invariant("SAFETY: owned (T1).", &known));
        assert!(!names_invariant("SAFETY: the list is XT1 long, of K1.", &known));
    }
}
