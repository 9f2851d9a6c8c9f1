//! The one program: reads the command line, runs one command, prints the chain of causes if it fails.

use std::process::ExitCode;

use clap::Parser;
use kandle::cli::Cli;

/// A call of a language model makes hundreds of small allocations, on threads that wake each other: with that of the C library
/// a fifth of its time went there. It asks for no huge pages (`no_thp`): they took 35 MB more and made nothing faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A wrong command line ends here, with code 2 and the usage.
    let cli = Cli::parse();
    match kandle::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kandle: {error:#}");
            ExitCode::FAILURE
        }
    }
}
