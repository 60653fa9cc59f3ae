//! The `chatdb` program under another name: the nodes of this package's tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    chatdb::cli::main()
}
