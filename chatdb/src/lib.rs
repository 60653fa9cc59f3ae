//! Replicated wide-column database: CQL, tablets, change streams, gRPC, shell.
