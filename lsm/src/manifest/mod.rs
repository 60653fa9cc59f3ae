//! The manifest: which files are the engine, up to which log index they go, and what its owner
//! wants to know on the next start. Layout: `docs/formats/manifest.md`.
//!
//! # Invariants
//!
//! * A state of the engine changes by one edit, which is durable wholly or not at all.
//! * A file is synced, and so is its name, before an edit adds it; it is removed after an edit
//!   has removed it. What no edit knows is swept on the next start.
//! * A damaged edit is an error. Only a last edit of which a whole disk sector is missing, as a
//!   power failure leaves it, is forgotten: nobody was told that it is durable.

mod current;
mod edit;
mod log;
mod names;
mod version;

pub(crate) use current::read as read_current;
pub(crate) use edit::{Edit, FileMeta};
pub(crate) use log::Manifest;
pub(crate) use log::decode as decode_manifest;
pub(crate) use log::reseal as reseal_manifest;
pub(crate) use names::{
    CURRENT, CURRENT_NEW, LOCK, is_ours, manifest_name, table_name, table_path,
};
pub(crate) use version::{TableFile, Version};
