//! Cuts what was typed into statements and commands of the shell.

use crate::cql;
use crate::error::Result;

/// Commands of the shell; they need no semicolon and take the rest of the line.
pub(crate) const COMMANDS: &[&str] = &[
    "exit", "quit", "help", "describe", "desc", "use", "source", "expand", "timing",
];

/// The statements of the text without their semicolons; an unfinished last one counts.
pub(crate) fn split(text: &str) -> Result<Vec<&str>> {
    if is_command(text) {
        return Ok(vec![text.trim().trim_end_matches(';').trim_end()]);
    }
    cql::split(text)
}

/// Whether Enter runs the text: it ends with a semicolon, or is a command that needs none.
pub(crate) fn is_complete(text: &str) -> bool {
    text.trim().is_empty() || is_command(text) || cql::is_complete(text)
}

/// Whether the text is one line that begins with a command of the shell.
fn is_command(text: &str) -> bool {
    let text = text.trim();
    let first = text.split([' ', '\t', ';']).next().unwrap_or_default();
    let is_word = COMMANDS.contains(&first.to_ascii_lowercase().as_str());
    let is_one_line = !text.contains('\n');
    let is_one = !text.trim_end_matches(';').contains(';');
    is_one_line && is_one && (is_word || first.starts_with('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_waits_for_the_semicolon_except_after_commands() {
        assert!(is_complete("select * from t;"));
        assert!(!is_complete("select * from t"));
        assert!(!is_complete("insert into t (a) values (';"));
        assert!(!is_complete("begin batch insert into t (a) values (1);"));
        assert!(is_complete("describe tables"));
        assert!(is_complete("\\timing"));
        assert!(is_complete("source /tmp/a b.cql"));
        assert!(is_complete(""));
    }

    #[test]
    fn commands_take_their_line_and_statements_end_at_semicolons() {
        assert_eq!(
            split("use flux; select * from t").unwrap(),
            ["use flux", "select * from t"]
        );
        assert_eq!(
            split(" source /tmp/x.cql; ").unwrap(),
            ["source /tmp/x.cql"]
        );
        assert_eq!(
            split("insert into t (a) values (';')").unwrap(),
            ["insert into t (a) values (';')"]
        );
    }
}
