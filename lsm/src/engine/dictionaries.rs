//! Which dictionary a sealed file gets: that of the merge before it in the same table while it
//! serves, otherwise one trained on samples of what is merged.
//!
//! The last dictionary of each table is kept in memory, as its bytes alone; a restart trains anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Engine;
use crate::error::Result;
use crate::manifest::TableFile;
use crate::metrics::add;
use crate::row::TableId;
use crate::sstable::{Kept, Samples, TableReader, Trained};

/// The dictionary of the last merge of each table that got one.
#[derive(Debug, Default)]
pub(super) struct Dictionaries(Mutex<BTreeMap<TableId, Kept>>);

impl Dictionaries {
    /// Forgets the one of a table.
    pub(super) fn forget(&self, table: TableId) {
        self.0.lock().remove(&table);
    }
}

impl Engine {
    /// A dictionary for a merge of `inputs` at `level`, if one is worth its length.
    pub(super) fn dictionary(
        &self,
        table: TableId,
        inputs: &[Arc<TableFile>],
        level: i32,
    ) -> Result<Option<Arc<Trained>>> {
        let raw = |file: &Arc<TableFile>| file.meta.properties.raw_bytes.max(file.meta.len);
        let raw_bytes: u64 = inputs.iter().map(raw).sum();
        let wanted = Samples::wanted(raw_bytes);
        if wanted == 0 {
            return Ok(None);
        }
        let kept = self.dictionaries.0.lock().get(&table).cloned();
        if let Some(kept) = &kept {
            let few = wanted.min(Samples::wanted_to_judge());
            let samples = sample(inputs, raw_bytes, few)?;
            if let Some(trained) = samples.reuse(kept, raw_bytes, level) {
                add(&self.counters.dictionaries_reused, 1);
                return Ok(Some(Arc::new(trained)));
            }
        }
        let samples = sample(inputs, raw_bytes, wanted)?;
        let Some((trained, newer)) = samples.train(raw_bytes, level) else {
            return Ok(None);
        };
        add(&self.counters.dictionaries_trained, 1);
        if !kept.is_some_and(|kept| kept.outlasts(&newer)) {
            self.dictionaries.0.lock().insert(table, newer);
        }
        Ok(Some(Arc::new(trained)))
    }
}

/// About `wanted` bytes of blocks from all parts of the inputs.
fn sample(inputs: &[Arc<TableFile>], raw_bytes: u64, wanted: usize) -> Result<Samples> {
    let stride = usize::try_from(raw_bytes / wanted.max(1) as u64).unwrap_or(usize::MAX);
    let mut samples = Samples::default();
    for file in inputs {
        let mut reader = TableReader::new(Arc::clone(&file.table), None);
        for number in (0..reader.block_count()).step_by(stride.max(1)) {
            if samples.len() < wanted {
                samples.push(reader.data(number)?.payload());
            }
        }
    }
    Ok(samples)
}
