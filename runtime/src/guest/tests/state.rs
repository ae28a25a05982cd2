//! Guests that read state.

use std::rc::Rc;
use std::time::Instant;

use super::*;

const IMPORT: &str = "(memory (export \"memory\") 4)";
const SCAN: &str = "(import \"strait:transform/host@1.0.0\" \"state-scan\"
    (func $scan (param i32 i32 i32 i32 i32 i64 i32)))";

/// Looks for entries until it is too late.
struct Endless;

impl StateAccess for Endless {
    fn get(&self, _: u16, _: &[u8], _: i64) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn scan(&self, _: u16, _: &[u8], _: &[u8], _: i64, until: Option<Instant>) -> Result<Vec<u8>, NoPage> {
        let until = until.unwrap();
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        Err(NoPage::Late)
    }
}

#[test]
fn a_call_whose_time_is_over_while_the_host_works_for_it_ends_with_its_deadline() {
    let scan = "(call $scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i64.const 0) (i32.const 8))";
    let text = guest(&[
        (IMPORT, &format!("{SCAN}\n{IMPORT}")),
        (PROCESS, &format!("{scan}\n{PROCESS}")),
    ]);
    let module = Fixture::new(&text).load().unwrap();
    let mut instance = module.instantiate(Some(Rc::new(Endless))).unwrap();
    let deadline = Duration::from_millis(50);
    let input = Input {
        topic: "in",
        partition: 0,
        records: &samples(1),
        stream_times_ms: &[],
    };
    let CallError::Fault(fault) = instance.process(&input, Some(deadline)).unwrap_err() else {
        panic!("no fault of its batch")
    };
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
    assert_eq!(fault.message, "it ran longer than 50ms");
}
