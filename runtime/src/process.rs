//! The life of a daemon's process around its async runtime: it ends within [`GRACE`] and a moment, whatever a thread of it
//! is busy with.

use std::process::ExitCode;
use std::time::Duration;

/// What tasks get to end in order after the signal; what they keep is on disk by then.
pub const GRACE: Duration = Duration::from_secs(4);
/// For threads that are still busy after it, such as an evaluation: they hold nothing that must be kept.
const LAST_WAIT: Duration = Duration::from_millis(500);
/// Connections that are still open get this after the signal, then they are cut.
pub const DRAIN: Duration = Duration::from_secs(2);

/// Runs `main` on a runtime of its own, to its end.
pub fn run(main: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(main);
    runtime.shutdown_timeout(LAST_WAIT);
    code
}
