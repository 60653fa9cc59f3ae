//! A small disk for one node: a file system of its own in a file, which a ballast fills up to the last block.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const DISK_BYTES: u64 = 1 << 30;

/// A mounted file system; it is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// Makes and mounts one at `mount`. Needs root, mkfs.ext4 and loop devices.
    pub(crate) fn mount(mount: &Path) -> Result<Self> {
        let image = mount.with_extension("img");
        let file = std::fs::File::create(&image)?;
        file.set_len(DISK_BYTES)?;
        // No reserve for root: who runs this is root.
        run(Command::new("mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(mount))?;
        Ok(Self {
            mount: mount.to_owned(),
        })
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }

    /// Takes all space that is left.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut bytes = DISK_BYTES;
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.ballast())?;
        // Blocks are given without being written, from large pieces down to single ones.
        while bytes >= 4096 {
            let from = file.metadata()?.len();
            let done = Command::new("fallocate")
                .args([
                    "--offset",
                    &from.to_string(),
                    "--length",
                    &bytes.to_string(),
                ])
                .arg(self.ballast())
                .stderr(std::process::Stdio::null())
                .status()?;
            if !done.success() {
                // What a failed call gave before it failed is kept or not; the next is smaller.
                bytes /= 2;
            }
        }
        std::io::Write::flush(&mut file)?;
        Ok(())
    }

    /// Gives the space back.
    pub(crate) fn free(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("remove the ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A mount that stays is found by the next look into the directory.
        drop(run(Command::new("umount").arg("-l").arg(&self.mount)));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
