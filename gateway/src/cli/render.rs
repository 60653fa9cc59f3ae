//! The one place that prints. A reader that went away (`flux ... | head`) is no error.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

/// A result, on standard output.
pub(super) fn result(line: &str) {
    print(io::stdout().lock(), line);
}

/// Something for people, on standard error.
pub(super) fn note(line: &str) {
    print(io::stderr().lock(), line);
}

fn print(mut stream: impl Write, line: &str) {
    // Nobody is left to tell when writing fails.
    drop(writeln!(stream, "{line}").and_then(|()| stream.flush()));
}

/// Sends the log to standard error; `FLUX_LOG` chooses what is logged. By default warnings, and of
/// openraft errors
/// only: what it warns of (a stale vote) is part of its work.
pub(super) fn start_log() {
    let filter = EnvFilter::try_from_env("FLUX_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,openraft=error"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // A log that was started before (tests) stays.
    drop(log.try_init());
}
