//! What the benchmarks' program promises.

mod chaos;
