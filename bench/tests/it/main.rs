//! What the benchmarks' program and the files of `deploy/` promise.

mod chaos;
mod deploy;
