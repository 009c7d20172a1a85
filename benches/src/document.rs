//! Documents with parts that programs write.

use std::path::Path;

/// Writes this text between the marks of that name in the document.
pub fn write_part(document: &Path, name: &str, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    let old = std::fs::read_to_string(document)?;
    let new = replaced(&old, name, text).map_err(|why| format!("{}: {why}", document.display()))?;
    Ok(std::fs::write(document, new)?)
}

/// The document with this text between the marks of that name.
fn replaced(document: &str, name: &str, text: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let missing = || format!("no place for '{name}': {begin} and {end}, in lines of their own");
    let (before, rest) = document.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{}\n{end}{after}", text.trim_end()))
}

/// A table in Markdown; the first column is text, the others are numbers unless their heads end in a space.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = head.iter().enumerate().map(|(at, cell)| rule(at, cell)).collect();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rows: String = rows.into_iter().map(|cells| line(&cells)).collect();
    format!("{}{}{rows}", line(&head), line(&rule))
}

fn rule(at: usize, head: &str) -> String {
    if at == 0 || head.ends_with(' ') { "---".into() } else { "---:".into() }
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
