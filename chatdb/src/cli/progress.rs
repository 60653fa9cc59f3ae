//! How far long work is: a bar on a terminal, a line every few seconds on a pipe.

use crate::cli::render::{DOT, bytes};
use crate::cli::screen::Screen;
use std::time::{Duration, Instant};

const BAR_WIDTH: u64 = 24;
const REDRAW: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Work whose size in bytes is known.
pub(crate) struct Progress<'a> {
    screen: &'a Screen,
    what: &'static str,
    total: u64,
    done: u64,
    begun: Instant,
    shown: Instant,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(screen: &'a Screen, what: &'static str, total: u64) -> Self {
        let now = Instant::now();
        Self {
            screen,
            what,
            total,
            done: 0,
            begun: now,
            shown: now,
        }
    }

    /// Notes work done and shows it now and then.
    pub(crate) fn advance(&mut self, more: u64) {
        self.done = self.done.saturating_add(more);
        let pause = if self.screen.has_progress_bar() {
            REDRAW
        } else {
            LINE_EVERY
        };
        if self.shown.elapsed() >= pause {
            self.shown = Instant::now();
            let text = line(self.what, self.done, self.total, self.begun.elapsed());
            self.screen.progress(&text);
        }
    }

    /// Clears the bar, so that something else can be said.
    pub(crate) fn clear(&self) {
        self.screen.clear_progress();
    }

    /// How long it took so far, in microseconds.
    pub(crate) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let total = total.max(1);
    let full = (done.min(total) * BAR_WIDTH) / total;
    let bar: String = (0..BAR_WIDTH)
        .map(|at| if at < full { '\u{2588}' } else { '\u{2591}' })
        .collect();
    let ms = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let rate = done.saturating_mul(1000) / ms;
    let left = total.saturating_sub(done).checked_div(rate);
    let mut facts = vec![
        format!("{what} {bar} {} of {}", bytes(done), bytes(total)),
        format!("{}/s", bytes(rate)),
    ];
    facts.extend(left.map(|seconds| format!("{seconds} s left")));
    facts.join(DOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_much_how_fast_and_how_long_still() {
        let text = line("verify", 1 << 20, 4 << 20, Duration::from_secs(2));
        let bar = format!("{}{}", "\u{2588}".repeat(6), "\u{2591}".repeat(18));
        let expected = format!("verify {bar} 1.0 MiB of 4.0 MiB{DOT}512.0 KiB/s{DOT}6 s left");
        assert_eq!(text, expected);
        assert!(!line("verify", 0, 0, Duration::ZERO).contains("left"));
    }
}
