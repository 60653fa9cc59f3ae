//! Numbers that are asked for when the page is read: engines, log, groups, queues.

use crate::node::{Node, TabletNumbers};
use lsm::exposition::{Metric, MetricKind};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use raft::{Stage, Stages};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Weak;

/// Asks a node while it is there.
#[derive(Debug)]
pub(crate) struct NodeCollector(pub(crate) Weak<Node>);

/// One name with its meaning, and its number for each label.
struct Family {
    help: &'static str,
    kind: MetricKind,
    /// Label name and value, or nothing, and the number.
    samples: Vec<(Option<(&'static str, String)>, u64)>,
}

/// Families by name, so that the page is in the same order every time.
#[derive(Default)]
struct Page(BTreeMap<String, Family>);

impl Page {
    fn add(&mut self, label: Option<(&'static str, &str)>, metric: &Metric) {
        let name = metric.family();
        self.put(&name, label, (metric.kind, metric.help, metric.value));
    }

    fn put(
        &mut self,
        name: &str,
        label: Option<(&'static str, &str)>,
        (kind, help, value): (MetricKind, &'static str, u64),
    ) {
        let family = self.0.entry(name.to_owned()).or_insert_with(|| Family {
            help,
            kind,
            samples: Vec::new(),
        });
        let label = label.map(|(name, value)| (name, value.to_owned()));
        family.samples.push((label, value));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, family) in &self.0 {
            let kind = match family.kind {
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Counter => MetricType::Counter,
            };
            let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (label, value) in &family.samples {
                match label {
                    None => sample(&mut metric, family.kind, *value)?,
                    Some((name, text)) => {
                        let labels = [(*name, text.as_str())];
                        let mut labeled = metric.encode_family(&labels)?;
                        sample(&mut labeled, family.kind, *value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn sample(metric: &mut MetricEncoder<'_>, kind: MetricKind, value: u64) -> fmt::Result {
    match kind {
        MetricKind::Gauge => metric.encode_gauge(&value),
        MetricKind::Counter => metric.encode_counter::<NoLabelSet, u64, u64>(&value, None),
    }
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(node) = self.0.upgrade() else {
            return Ok(());
        };
        let numbers = node.numbers();
        let mut page = Page::default();
        for (name, kind, help, value) in numbers.node {
            page.put(name, None, (kind, help, value));
        }
        for metric in numbers.log.list().iter().chain(&numbers.admission.list()) {
            page.add(None, metric);
        }
        for tablet in &numbers.tablets {
            put_tablet(&mut page, tablet);
        }
        page.encode(&mut encoder)?;
        put_stages(&mut encoder, &numbers.stages)
    }
}

/// Where the time of writes goes.
fn put_stages(encoder: &mut DescriptorEncoder<'_>, stages: &Stages) -> fmt::Result {
    let help = "Time of a command of a raft group in each stage of its way. `queued`: until it is part of an entry; \
        `synced`: writing and syncing entries here; `committed`: from the offer of an entry until it is its turn to be \
        applied; `applied`; `answered`: until its callers are told.";
    let kind = MetricType::Histogram;
    let mut metric = encoder.encode_descriptor("raft_stage_seconds", help, None, kind)?;
    for stage in Stage::ALL {
        let times = stages.read(stage);
        let label = [("stage", stage.name())];
        let mut labeled = metric.encode_family(&label)?;
        labeled.encode_histogram::<NoLabelSet>(times.sum_s, times.count, &times.buckets, None)?;
    }
    Ok(())
}

fn put_tablet(page: &mut Page, tablet: &TabletNumbers) {
    let group = tablet.raft.group.0.to_string();
    if let Some(engine) = &tablet.engine {
        for metric in engine.list() {
            // The cache is shared: it is told once, without a label.
            if metric.part != "cache" {
                page.add(Some(("tablet", &group)), &metric);
            } else if tablet.is_first {
                page.add(None, &metric);
            }
        }
    }
    for (name, kind, help, value) in tablet.debt() {
        page.put(name, Some(("tablet", &group)), (kind, help, value));
    }
    for (name, kind, help, value) in tablet.raft_numbers() {
        page.put(name, Some(("group", &group)), (kind, help, value));
    }
}
