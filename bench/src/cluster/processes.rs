//! What processes have used, as the kernel counts it.

use anyhow::{Context, Result};
use std::time::Duration;

/// Processor time of processes so far, in seconds, their threads included.
pub(super) fn cpu_seconds(processes: &[u32]) -> f64 {
    processes.iter().filter_map(|it| cpu_of(*it)).sum()
}

/// Fields 14 and 15 of `/proc/PID/stat`, in hundredths of a second.
fn cpu_of(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// Memory of a process that is in RAM, its pages of files included (its program, mostly), in MiB.
pub(super) fn resident_mib(process: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kib.trim().parse::<f64>()? / 1024.0)
}

/// Asks for the processor's share of these processes over a while, in cores.
pub(super) async fn cores(processes: &[u32], over: Duration) -> f64 {
    let before = cpu_seconds(processes);
    let begun = std::time::Instant::now();
    tokio::time::sleep(over).await;
    (cpu_seconds(processes) - before) / begun.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn processor_time_and_memory_of_this_process_grow_with_what_it_does() {
        let me = std::process::id();
        let (cpu, memory) = (cpu_seconds(&[me]), resident_mib(me).expect("it runs"));
        let begun = Instant::now();
        let mut held = Vec::new();
        while begun.elapsed() < Duration::from_millis(60) || held.len() < 8 {
            held.push(vec![std::hint::black_box(7_u8); 4 << 20]);
            held.truncate(8);
        }
        assert!(cpu_seconds(&[me]) > cpu, "{cpu}");
        assert!(resident_mib(me).expect("it runs") > memory + 16.0);
    }
}
