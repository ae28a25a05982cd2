//! The epoch clock: what makes a guest stoppable.
//!
//! Compiled code compares a counter of the engine with the deadline of its store; this
//! thread advances the counter every [`TICK`]. It sleeps for good while no guest runs, so
//! an idle process is not woken a hundred times a second.
//!
//! Invariants: a guest is never interrupted before its deadline has passed, and about one
//! tick after it at the latest. The thread keeps nothing alive: it ends with its clock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

/// How far apart the counter's steps are.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Advances an engine's epoch while a guest runs.
pub(super) struct Clock {
    shared: Arc<Shared>,
    ticker: Thread,
}

#[derive(Default)]
struct Shared {
    /// Guest calls in flight.
    running: AtomicUsize,
    ended: AtomicBool,
}

/// A guest call in flight: as long as this lives, the clock ticks.
pub(super) struct Running(Arc<Clock>);

impl Clock {
    pub(super) fn start(engine: &wasmtime::Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("strait-epoch".to_owned());
        let (engine, state) = (engine.weak(), Arc::clone(&shared));
        let ticker = thread.spawn(move || tick(&engine, &state))?.thread().clone();
        Ok(Self { shared, ticker })
    }

    /// To be held for the length of a guest call.
    pub(super) fn run(self: &Arc<Self>) -> Running {
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.ticker.unpark();
        }
        Running(Arc::clone(self))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.ticker.unpark();
    }
}

/// Epochs that a call may see. One more than fit into `deadline`, because the step that is
/// under way when the call begins is not a whole one.
pub(super) fn ticks(deadline: Duration) -> u64 {
    let whole = deadline.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(whole)
        .unwrap_or(NO_DEADLINE)
        .min(NO_DEADLINE)
        .saturating_add(1)
}

/// Epochs that no process lives to see, and that can be added to a counter.
pub(super) const NO_DEADLINE: u64 = u64::MAX / 4;

fn tick(engine: &EngineWeak, shared: &Shared) {
    loop {
        // An unpark between the look and the park is not lost: park then returns at once.
        while shared.running.load(Ordering::SeqCst) == 0 {
            if shared.ended.load(Ordering::SeqCst) {
                return;
            }
            thread::park();
        }
        thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_cut_short() {
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_millis(10)), 2);
        assert_eq!(ticks(Duration::from_millis(11)), 3);
        assert_eq!(ticks(Duration::MAX), NO_DEADLINE + 1);
    }

    #[test]
    fn an_idle_clock_stands_still() {
        let engine = wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap();
        let code = wat::parse_str("(module (func (export \"guest\")))").unwrap();
        let module = wasmtime::Module::from_binary(&engine, &code).unwrap();
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let guest = instance.get_typed_func::<(), ()>(&mut store, "guest").unwrap();

        let clock = Arc::new(Clock::start(&engine).unwrap());
        thread::sleep(TICK * 5);
        assert!(guest.call(&mut store, ()).is_ok(), "it ticked while no guest ran");
        let _running = clock.run();
        let began = std::time::Instant::now();
        while guest.call(&mut store, ()).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(10), "it does not tick");
            thread::yield_now();
        }
    }

    #[test]
    fn the_thread_ends_with_its_clock_and_keeps_no_engine_alive() {
        let engine = wasmtime::Engine::default();
        let weak = engine.weak();
        let clock = Arc::new(Clock::start(&engine).unwrap());
        let shared = Arc::clone(&clock.shared);
        drop(clock.run());
        drop(clock);
        drop(engine);
        // The thread's own handle on `shared` is gone when it has returned.
        let began = std::time::Instant::now();
        while Arc::strong_count(&shared) > 1 {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "the ticker outlives its clock"
            );
            thread::yield_now();
        }
        assert!(weak.upgrade().is_none());
    }
}
