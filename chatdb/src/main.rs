//! The `chatdb` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    chatdb::cli::main()
}
