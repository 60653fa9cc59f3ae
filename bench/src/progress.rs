//! Says on standard error what is being measured: a line that changes on a terminal, one line per step elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The display of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    start: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("[{elapsed_precise}] {spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            start: Instant::now(),
        }
    }

    /// What comes now.
    #[expect(clippy::print_stderr, reason = "progress belongs on standard error")]
    pub(crate) fn step(&self, text: &str) {
        let seconds = self.start.elapsed().as_secs();
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprintln!("[{:02}:{:02}] {text}", seconds / 60, seconds % 60),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
