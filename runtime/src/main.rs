//! The command `strait`. Everything it does is in the library.

use std::process::ExitCode;

// Produced records are allocated in lane threads and freed in librdkafka's, which glibc's
// allocator is slow at (measured: 80 against 230 ns a record).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    strait::cli::main()
}
