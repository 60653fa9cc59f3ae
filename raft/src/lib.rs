//! Replication: openraft groups over one shared log.
