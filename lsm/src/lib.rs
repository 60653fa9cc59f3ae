//! Embedded, synchronous wide-column LSM engine and shared log.
