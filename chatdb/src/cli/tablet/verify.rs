//! Reads every block of every file.

use super::{Area, Stopped};
use crate::cli::Stop;
use crate::cli::progress::Progress;
use crate::cli::render::{DOT, bytes, counted, duration};
use crate::cli::screen::Screen;
use lsm::VerifyReport;
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// What was found in all tablets.
#[derive(Default)]
struct Sum {
    report: VerifyReport,
    damage: Vec<Value>,
}

pub(super) fn run(area: &Area, screen: &Screen) -> Result<(), Stop> {
    let stopped = Stopped::open(area)?;
    let mut sum = Sum::default();
    let mut tablets = Vec::new();
    for group in &stopped.groups {
        match stopped.inspect(*group) {
            Ok(inspection) => tablets.push((*group, inspection)),
            Err(error) => sum.damage.push(json!({
                "tablet": group,
                "message": error.message(),
            })),
        }
    }
    let total = tablets
        .iter()
        .flat_map(|(_, inspection)| inspection.files())
        .map(|file| file.bytes)
        .sum();
    let mut progress = Progress::new(screen, "verify", total);
    for (group, inspection) in &tablets {
        let report = inspection.verify(&mut |file, outcome| {
            progress.advance(file.bytes);
            if let Err(error) = outcome {
                sum.damage.push(damage(*group, &file.name, &error));
            }
            ControlFlow::Continue(())
        });
        sum.add(&report);
    }
    progress.clear();
    tell(area, &sum, &progress, screen)
}

impl Sum {
    fn add(&mut self, report: &VerifyReport) {
        self.report.files += report.files;
        self.report.bytes += report.bytes;
        self.report.blocks += report.blocks;
        self.report.partitions += report.partitions;
        self.report.rows += report.rows;
    }
}

fn damage(group: u64, file: &str, error: &lsm::Error) -> Value {
    let place = error.corruption();
    json!({
        "tablet": group,
        "file": place.map_or_else(|| file.to_owned(), |it| it.file.display().to_string()),
        "offset": place.map(|it| it.offset),
        "expected": place.map(|it| &it.expected),
        "found": place.map(|it| &it.found),
        "message": error.to_string(),
    })
}

fn tell(area: &Area, sum: &Sum, progress: &Progress<'_>, screen: &Screen) -> Result<(), Stop> {
    let report = &sum.report;
    if area.json {
        let object = json!({
            "files": report.files,
            "bytes": report.bytes,
            "blocks": report.blocks,
            "partitions": report.partitions,
            "rows": report.rows,
            "damaged": sum.damage,
        });
        screen.line(&object.to_string())?;
    } else {
        for entry in &sum.damage {
            let message = entry["message"].as_str().unwrap_or_default();
            screen.error(&format!("tablet {}: {message}", entry["tablet"]));
        }
        let outcome = match sum.damage.len() {
            0 => "sound".to_owned(),
            count => format!("{count} damaged"),
        };
        let facts = [
            outcome,
            format!("{} read", counted(report.files, "sound file")),
            bytes(report.bytes),
            counted(report.blocks, "block"),
            counted(report.rows, "row"),
            duration(progress.elapsed_us()),
        ];
        screen.line(&facts.join(DOT))?;
    }
    if sum.damage.is_empty() {
        Ok(())
    } else {
        Err(Stop::Told)
    }
}
