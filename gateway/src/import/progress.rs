//! The bar of an import: what, how much of how much, rate, time left; on a pipe a line every few seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Progress over bytes of input; the rate is told in messages.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    on_terminal: bool,
    start: Instant,
    last_line: Instant,
    messages: u64,
}

impl Progress {
    /// For `total_bytes` of input.
    pub(crate) fn new(total_bytes: u64) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let target = if on_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total_bytes), target);
        let template = "{msg:24!} [{bar:28}] {bytes}/{total_bytes}  {prefix}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            on_terminal,
            start: Instant::now(),
            last_line: Instant::now(),
            messages: 0,
        }
    }

    /// Names what is being read now.
    pub(crate) fn source(&self, name: &str) {
        self.bar.set_message(name.to_owned());
    }

    /// Counts input that is stored.
    pub(crate) fn advance(&mut self, bytes: u64, messages: u64) {
        self.messages += messages;
        self.bar.inc(bytes);
        self.bar.set_prefix(format!(
            "{} messages, {}/s",
            HumanCount(self.messages),
            HumanCount(self.rate())
        ));
        if !self.on_terminal && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            self.line();
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Messages per second since the start.
    pub(crate) fn rate(&self) -> u64 {
        let millis = self.start.elapsed().as_millis().max(1);
        u64::try_from(u128::from(self.messages) * 1000 / millis).unwrap_or(u64::MAX)
    }

    /// Time since the start, for the summary.
    pub(crate) fn elapsed(&self) -> HumanDuration {
        HumanDuration(self.start.elapsed())
    }

    #[expect(
        clippy::print_stderr,
        reason = "progress on a pipe is this command's output"
    )]
    fn line(&self) {
        let total = self.bar.length().unwrap_or(0).max(1);
        eprintln!(
            "import: {}% read, {} messages, {}/s, {} left",
            self.bar.position() * 100 / total,
            HumanCount(self.messages),
            HumanCount(self.rate()),
            HumanDuration(self.bar.eta()),
        );
    }
}
