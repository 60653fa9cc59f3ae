//! The only file that writes to the standard streams.
//!
//! A reader that goes away (`chatdb query ... | head`) is not an error: writing then ends the
//! command quietly.

use std::io::{self, IsTerminal, Write};

/// Width when there is no terminal to ask.
const WIDTH_DEFAULT: usize = 120;

/// The terminal or pipe that a command writes to.
#[derive(Debug)]
pub(crate) struct Screen {
    out: io::Stdout,
    is_terminal: bool,
    has_color: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let has_color = is_terminal && std::env::var_os("NO_COLOR").is_none();
        Self {
            out: io::stdout(),
            is_terminal,
            has_color,
        }
    }

    /// Whether a person is looking.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Characters in a line.
    pub(crate) fn width(&self) -> usize {
        comfy_table::Table::new()
            .width()
            .filter(|&width| self.is_terminal && width > 20)
            .map_or(WIDTH_DEFAULT, usize::from)
    }

    /// Writes the text as it is.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes a line.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.write(&format!("{text}\n"))
    }

    /// Writes a line of facts, dimmed on a terminal.
    pub(crate) fn note(&self, text: &str) -> io::Result<()> {
        if self.has_color {
            self.line(&format!("\x1b[2m{text}\x1b[0m"))
        } else {
            self.line(text)
        }
    }

    /// Whether progress is a bar that is drawn again, and not lines.
    pub(crate) fn has_progress_bar(&self) -> bool {
        self.is_terminal && io::stderr().is_terminal()
    }

    /// Shows how far long work is, on the other stream.
    pub(crate) fn progress(&self, text: &str) {
        let mut out = io::stderr().lock();
        // Nobody is left to tell when this fails.
        drop(if self.has_progress_bar() {
            write!(out, "\r\x1b[K{text}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{text}")
        });
    }

    /// Removes the bar.
    pub(crate) fn clear_progress(&self) {
        if self.has_progress_bar() {
            drop(write!(io::stderr().lock(), "\r\x1b[K"));
        }
    }

    /// Writes an error to the other stream.
    pub(crate) fn error(&self, text: &str) {
        let word = if self.has_color && io::stderr().is_terminal() {
            "\x1b[1;31merror\x1b[0m"
        } else {
            "error"
        };
        // Nobody is left to tell when this fails.
        drop(writeln!(io::stderr().lock(), "{word}: {text}"));
    }
}
