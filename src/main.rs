//! Parses the command line, runs it, and turns an error into sentences and an exit code.

#![allow(clippy::print_stderr, reason = "this is where a program says why it failed")]

use clap::Parser;
use std::process::ExitCode;

/// Frees memory to the system sooner than the system's own allocator, and is faster under many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Tables of many small parts would hold huge pages of which a fifth is used by nothing; calls are no slower without.
    #[cfg(target_os = "linux")]
    let _as_the_kernel_likes = rustix::thread::disable_transparent_huge_pages(true);
    let cli = match askance::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Clap knows what to say where; a closed pipe is nobody's loss.
            let _unheard = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match askance::cli::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("askance: {}", askance::cli::chain(&error));
            ExitCode::FAILURE
        }
    }
}
