//! How many commands a connection may send.

/// Commands per window.
const COMMANDS_MAX: u8 = 120;
/// Length of a window in seconds.
const WINDOW_S: u64 = 60;

/// A fixed window that starts with the first command in it.
#[derive(Debug, Default)]
pub(super) struct CommandRate {
    window_start_s: u64,
    count: u8,
}

impl CommandRate {
    /// Counts a command at second `now_s`; false if it is one too many.
    pub(super) fn admit(&mut self, now_s: u64) -> bool {
        if now_s >= self.window_start_s + WINDOW_S {
            *self = Self {
                window_start_s: now_s,
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        self.count <= COMMANDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_and_twenty_commands_fit_in_a_minute() {
        let mut rate = CommandRate::default();
        assert!((0..120).all(|_| rate.admit(100)));
        assert!(!rate.admit(159));
        assert!(rate.admit(160));
    }
}
