//! The gRPC door: server, client, and the conversions and error codes that both share.

#[cfg(test)]
#[path = "../../../raft/tests/it/certificates.rs"]
mod certificates;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod convert;
pub(crate) mod convert_stream;
pub(crate) mod error;
pub(crate) mod fuzz;
pub(crate) mod fuzz_peer;
pub(crate) mod limits;
mod pipeline;
pub(crate) mod server;
pub(crate) mod subscribe;
pub(crate) mod told;
pub(crate) mod way;

/// Messages and services generated from `proto/chatdb/v1`.
#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::empty_structs_with_brackets,
    clippy::clone_on_ref_ptr,
    reason = "generated code"
)]
pub(crate) mod proto {
    tonic::include_proto!("chatdb.v1");

    /// The contract as a descriptor set, for reflection.
    pub(crate) const DESCRIPTORS: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/chatdb_v1.bin"));
}
