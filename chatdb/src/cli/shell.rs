//! `chatdb shell`: line editing, history, completion, and a session.
//!
//! Ctrl-C while typing clears the line; while a statement runs it cancels the statement (a write
//! may still take effect, and the shell says so). The shell itself ends with EXIT or Ctrl-D.

use crate::cli::complete::{Assistant, Words};
use crate::cli::screen::Screen;
use crate::cli::session::{Paging, Session, Then};
use crate::cli::split::split;
use crate::cli::status::headline;
use crate::cli::{Shell, Stop};
use crate::error::{Error, ErrorKind};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use tokio::runtime::Runtime;

/// Lines of history that are kept.
const HISTORY_LINES: usize = 10_000;

type LineEditor = Editor<Assistant, FileHistory>;

pub(crate) fn run(arguments: &Shell, runtime: &Runtime, screen: &Screen) -> Result<(), Stop> {
    let db = runtime.block_on(arguments.target.open())?;
    let mut session = Session::new(db.clone(), arguments.keyspace.clone());
    let outcome = if std::io::stdin().is_terminal() {
        let status = runtime.block_on(db.status())?;
        screen.line(&format!(
            "{}{}type HELP, or DESCRIBE TABLES",
            headline(&status),
            crate::cli::render::DOT
        ))?;
        converse(&mut session, runtime, screen)
    } else {
        session.has_footer = false;
        run_script(&mut session, runtime, screen)
    };
    runtime.block_on(db.close())?;
    outcome
}

/// Statements from a pipe: the first that fails ends the script.
fn run_script(session: &mut Session, runtime: &Runtime, screen: &Screen) -> Result<(), Stop> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|cause| {
            Error::new(ErrorKind::Io, "cannot read standard input").with_source(cause)
        })?;
    for statement in split(&text)? {
        let then = runtime.block_on(session.run(statement, Paging::All, screen))?;
        if then == Then::Leave {
            break;
        }
    }
    Ok(())
}

fn converse(session: &mut Session, runtime: &Runtime, screen: &Screen) -> Result<(), Stop> {
    let mut editor = editor()?;
    let history = history_file();
    if let Some(path) = &history {
        // No history yet is the same as an empty one.
        drop(editor.load_history(path));
    }
    loop {
        refresh(&mut editor, session, runtime);
        let prompt = match &session.keyspace {
            Some(keyspace) => format!("chatdb:{keyspace}> "),
            None => "chatdb> ".to_owned(),
        };
        let input = match editor.readline(&prompt) {
            Ok(input) => input,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(cause) => {
                let error = Error::new(ErrorKind::Io, "cannot read the terminal");
                return Err(error.with_source(cause).into());
            }
        };
        if input.trim().is_empty() {
            continue;
        }
        remember(&mut editor, &input, history.as_ref());
        if run_input(&input, session, runtime, screen)? == Then::Leave {
            break;
        }
    }
    Ok(())
}

fn run_input(
    input: &str,
    session: &mut Session,
    runtime: &Runtime,
    screen: &Screen,
) -> Result<Then, Stop> {
    let statements = match split(input) {
        Ok(statements) => statements,
        Err(error) => {
            Session::tell(error.into(), screen)?;
            return Ok(Then::Continue);
        }
    };
    for statement in statements {
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = session.run(statement, Paging::Ask, screen) => outcome,
                _ = tokio::signal::ctrl_c() => {
                    let message = "the statement was canceled; a write may still take effect";
                    Err(Error::new(ErrorKind::Unknown, message).into())
                }
            }
        });
        match outcome {
            Ok(Then::Continue) => {}
            Ok(Then::Leave) => return Ok(Then::Leave),
            Err(stop) => {
                Session::tell(stop, screen)?;
                return Ok(Then::Continue);
            }
        }
    }
    Ok(Then::Continue)
}

fn editor() -> Result<LineEditor, Error> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY_LINES)
        .and_then(|config| config.history_ignore_dups(true))
        .map(|config| config.history_ignore_space(true).build());
    config
        .and_then(Editor::with_config)
        .map_err(|cause| Error::new(ErrorKind::Io, "cannot use the terminal").with_source(cause))
}

/// Names may have changed with every statement; a node that is away leaves the old ones.
fn refresh(editor: &mut LineEditor, session: &Session, runtime: &Runtime) {
    if let Ok(schema) = runtime.block_on(session.schema()) {
        let words = Words::new(&schema, session.keyspace.as_deref());
        editor.set_helper(Some(Assistant::new(words)));
    } else if editor.helper().is_none() {
        editor.set_helper(Some(Assistant::new(Words::default())));
    }
}

/// A history that cannot be written is not worth a word.
fn remember(editor: &mut LineEditor, input: &str, history: Option<&PathBuf>) {
    drop(editor.add_history_entry(input.trim()));
    if let Some(path) = history {
        if let Some(parent) = path.parent() {
            drop(std::fs::create_dir_all(parent));
        }
        drop(editor.append_history(path));
    }
}

fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let state = state.or_else(|| home.map(|home| home.join(".local/state")))?;
    Some(state.join("chatdb").join("history"))
}
