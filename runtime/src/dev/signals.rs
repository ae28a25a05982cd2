//! Ctrl-C, SIGTERM and a closed terminal, for `strait dev`.

use std::io;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// Whoever passes a signal on may send it to the process and to its group.
const ECHO: Duration = Duration::from_millis(500);

/// Calls `stop` at the first signal. A later one ends the process at once; what it
/// started is then ended by the broker's guard.
pub fn listen(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    let listen = move || {
        runtime.block_on(async {
            let mut asked: Option<Instant> = None;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                match asked {
                    None => stop(),
                    Some(first) if first.elapsed() < ECHO => continue,
                    Some(_) => std::process::exit(INTERRUPTED),
                }
                asked = Some(Instant::now());
            }
        });
    };
    std::thread::Builder::new()
        .name("strait-signals".into())
        .spawn(listen)?;
    Ok(())
}
