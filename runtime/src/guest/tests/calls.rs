//! Calls that succeed, and each way in which they fail.

use std::sync::Mutex;
use std::time::Instant;

use strait_sdk::batch::{Entry, Field, Headers};

use super::*;

#[test]
fn records_pass_through() {
    let mut instance = instance(&[]);
    for count in [1, 1000, 3] {
        let processed = process(&mut instance, &samples(count)).unwrap();
        let view = instance.view(&processed).unwrap();
        assert_eq!(view.len(), usize::try_from(count).unwrap());
        for (index, entry) in (0..).zip(view.entries()) {
            let Entry::Emit(emit) = entry else {
                panic!("{entry:?}")
            };
            assert_eq!((emit.origin, emit.output), (index, 0));
            assert_eq!(
                (emit.key, emit.value, emit.headers),
                (Field::Inherit, Field::Inherit, Headers::Inherit)
            );
        }
        instance.release(processed).unwrap();
    }
}

#[test]
fn a_trusted_module_runs_without_deadline() {
    let mut fixture = Fixture::new(IDENTITY);
    fixture.stage.limits.batch_deadline = None;
    let mut instance = fixture.load().unwrap().instantiate(None).unwrap();
    let input = Input {
        topic: "in",
        partition: 0,
        records: &samples(10),
        stream_times_ms: &[],
    };
    let processed = instance.process(&input, None).unwrap();
    assert_eq!(instance.view(&processed).unwrap().len(), 10);
}

/// Traps at record 3.
const TRAP_AT_3: (&str, &str) = (
    EACH_RECORD,
    "(if (i32.eq (local.get $index) (i32.const 3)) (then (unreachable)))",
);

#[test]
fn a_trap_says_which_record_it_was_at() {
    let fault = fault(&mut instance(&[TRAP_AT_3]));
    assert_eq!((fault.kind, fault.record), (FaultKind::Trap, Some(3)));
    assert!(fault.message.contains("unreachable"), "{fault}");
}

#[test]
fn a_panic_is_a_trap_with_its_message() {
    let panic = "(call $log (i32.const 4) (i32.const 2048) (i32.const 26)) (unreachable)";
    let fault = fault(&mut instance(&[(PROCESS, panic)]));
    assert_eq!((fault.kind, fault.record), (FaultKind::Trap, None));
    assert_eq!(fault.message, "panicked at 'no such luck'");
}

#[test]
fn an_error_logged_by_an_earlier_call_is_not_its_message() {
    let one = "(i32.eq (i32.load offset=12 (local.get $in)) (i32.const 1))";
    let log = "(call $log (i32.const 4) (i32.const 2048) (i32.const 26))";
    let moody = format!("(if {one} (then {log}) (else (unreachable))) {PROCESS}");
    let mut instance = instance(&[(PROCESS, &moody)]);
    let processed = process(&mut instance, &samples(1)).unwrap();
    instance.release(processed).unwrap();
    assert!(fault(&mut instance).message.contains("unreachable"));
}

#[test]
fn an_instance_that_failed_runs_no_more() {
    let mut instance = instance(&[(
        EACH_RECORD,
        // Traps in a batch of more than one record.
        "(if (i32.gt_u (local.get $count) (i32.const 1)) (then (unreachable)))",
    )]);
    let processed = process(&mut instance, &samples(1)).unwrap();
    fault(&mut instance);
    let again = process(&mut instance, &samples(1)).unwrap_err();
    assert!(again.to_string().contains("must be replaced"), "{again}");
    assert!(instance.release(processed).is_err());
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let mut instance = instance(&[(PROCESS, "(loop $forever (br $forever)) (unreachable)")]);
    let deadline = Duration::from_millis(300);
    let input = Input {
        topic: "in",
        partition: 0,
        records: &samples(5),
        stream_times_ms: &[],
    };
    let began = Instant::now();
    let error = instance.process(&input, Some(deadline)).unwrap_err();
    let took = began.elapsed();
    let CallError::Fault(fault) = error else {
        panic!("{error}")
    };
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
    assert_eq!(fault.message, "it ran longer than 300ms");
    // As a rule it takes a tick longer; a machine under load may add some.
    assert!(took >= deadline && took < 5 * deadline, "{took:?}");
}

#[test]
fn a_deadline_is_that_of_its_call() {
    let mut instance = instance(&[]);
    for _ in 0..3 {
        let input = Input {
            topic: "in",
            partition: 0,
            records: &samples(5),
            stream_times_ms: &[],
        };
        let processed = instance
            .process(&input, Some(Duration::from_millis(100)))
            .unwrap();
        std::thread::sleep(Duration::from_millis(60));
        instance.release(processed).unwrap();
    }
}

#[test]
fn endless_recursion_is_a_trap() {
    let recursive = "(func $again (result i32) (i32.add (call $again) (i32.const 1)))\n  (func $allocate";
    let fault = fault(&mut instance(&[
        ("(func $allocate", recursive),
        (PROCESS, "(call $again)"),
    ]));
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.message.contains("stack"), "{fault}");
}

const GROW_FOREVER: &str = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))";

#[test]
fn a_memory_bomb_meets_its_limit() {
    let bomb = format!("{GROW_FOREVER} (unreachable)");
    let mut instance = instance(&[(PROCESS, &bomb)]);
    let fault = fault(&mut instance);
    assert_eq!(fault.kind, FaultKind::Memory);
    assert!(fault.message.contains("1.0 MiB"), "{fault}");
}

#[test]
fn a_batch_larger_than_the_guest_is_a_memory_fault() {
    let records = [Sample(0, vec![0; 2 << 20])];
    let Err(CallError::Fault(fault)) = process(&mut instance(&[]), &records) else {
        panic!()
    };
    assert_eq!(fault.kind, FaultKind::Memory);
}

#[test]
fn memory_refused_to_an_earlier_call_is_not_blamed_for_a_trap() {
    // A batch of one record asks for too much and copes; a larger one traps.
    let one = "(i32.eq (i32.load offset=12 (local.get $in)) (i32.const 1))";
    let greedy = format!("(if {one} (then {GROW_FOREVER}) (else (unreachable))) {PROCESS}");
    let mut instance = instance(&[(PROCESS, &greedy)]);
    let processed = process(&mut instance, &samples(1)).unwrap();
    instance.release(processed).unwrap();
    assert_eq!(fault(&mut instance).kind, FaultKind::Trap);
}

#[test]
fn pointers_outside_of_the_guest_are_faults() {
    let ends: [(&str, &str); 5] = [
        (PROCESS, "(i32.const -4)"),
        (
            PROCESS,
            "(call $return (i32.const 0) (i32.const 64) (i32.const -1))",
        ),
        (
            PROCESS,
            "(call $return (i32.const 0) (i32.const -1) (i32.const 64))",
        ),
        (
            PROCESS,
            "(call $return (i32.const 1) (i32.const 0x7fffffff) (i32.const 0x7fffffff))",
        ),
        (
            PROCESS,
            "(call $return (i32.const 7) (i32.const 64) (i32.const 64))",
        ),
    ];
    for end in ends {
        let fault = fault(&mut instance(&[end]));
        assert_eq!(fault.kind, FaultKind::Output, "{end:?}: {fault}");
    }
}

#[test]
fn a_buffer_outside_of_the_guest_is_a_fault() {
    let mut fixture = Fixture::new(&guest(&[("(call $allocate (local.get 3))", "(i32.const -8)")]));
    let problem = fixture.load().err().unwrap();
    assert!(matches!(problem, LoadProblem::Start { .. }), "{problem}");
    assert!(problem.to_string().contains("cabi_realloc"), "{problem}");
    fixture.stage.limits.batch_deadline = None;
    assert!(fixture.load().is_err());
}

#[test]
fn a_log_message_outside_of_the_guest_is_a_trap() {
    let log = "(call $log (i32.const 4) (i32.const -8) (i32.const 26)) (unreachable)";
    let fault = fault(&mut instance(&[(PROCESS, log)]));
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.message.contains("log was called"), "{fault}");
}

#[test]
fn a_result_over_its_limit_is_a_fault() {
    let mut fixture = Fixture::new(IDENTITY);
    fixture.stage.limits.output_bytes = 40 + 48 * 2;
    let module = fixture.load().unwrap();
    assert!(process(&mut module.instantiate(None).unwrap(), &samples(2)).is_ok());
    let fault = fault(&mut module.instantiate(None).unwrap());
    assert_eq!(fault.kind, FaultKind::Output);
    assert!(fault.message.contains("limits.output_bytes"), "{fault}");
}

#[test]
fn a_malformed_result_is_a_fault() {
    for (from, to) in [
        ("0x4f525453", "0x4f525454"),
        ("(i32.const 0x07000000)", "(i32.const 0x07000001)"), // an output that does not exist
        ("(i32.const 0x07000000)", "(i32.const 0x09090000)"), // a kind that does not exist
        (
            "(i32.store (local.get $row) (local.get $index))",
            "(i32.store (local.get $row) (i32.const 5))",
        ),
    ] {
        let fault = fault(&mut instance(&[(from, to)]));
        assert_eq!(fault.kind, FaultKind::Output, "{from}: {fault}");
    }
}

#[test]
fn a_transform_can_say_that_it_does_not_fit() {
    let err = "(call $return (i32.const 1) (i32.const 2048) (i32.const 11))";
    match process(&mut instance(&[(PROCESS, err)]), &samples(1)) {
        Err(CallError::Pipeline(message)) => assert_eq!(message, "panicked at"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_result_that_changed_since_is_noticed() {
    // In a batch of two, the first result's entry gets an origin that does not exist. Where
    // that result lies still stands at 20.
    let spoil = format!(
        "(if (i32.eq (i32.load offset=12 (local.get $in)) (i32.const 2)) \
           (then (i32.store offset=40 (i32.load (i32.const 20)) (i32.const 9)))) {PROCESS}"
    );
    let mut instance = instance(&[(PROCESS, &spoil)]);
    let first = process(&mut instance, &samples(1)).unwrap();
    assert!(instance.view(&first).is_ok());
    let second = process(&mut instance, &samples(2)).unwrap();
    assert!(instance.view(&first).is_err());
    assert!(instance.view(&second).is_ok());
}

/// Returns the first record's value as its result.
const ECHO: &str = "(call $return (i32.const 0)
    (i32.add (local.get $in)
             (i32.add (i32.load offset=28 (local.get $in)) (i32.load offset=96 (local.get $in))))
    (i32.load offset=100 (local.get $in)))";

/// A result that is in order.
fn good_result() -> Vec<u8> {
    let mut instance = instance(&[]);
    let processed = process(&mut instance, &samples(1)).unwrap();
    instance.output(&processed).to_vec()
}

#[test]
fn a_result_may_lie_anywhere() {
    let mut instance = instance(&[(PROCESS, ECHO)]);
    let processed = process(&mut instance, &[Sample(0, good_result())]).unwrap();
    assert_eq!(instance.view(&processed).unwrap().len(), 1);
}

proptest::proptest! {
    #[test]
    fn no_result_makes_the_host_panic(place in 0..88_usize, junk in proptest::collection::vec(0..=255_u8, 1..12)) {
        thread_local! {
            static ECHOING: (Module, Vec<u8>) =
                (Fixture::new(&guest(&[(PROCESS, ECHO)])).load().unwrap(), good_result());
        }
        ECHOING.with(|(module, good)| {
            let mut bytes = good.clone();
            bytes.splice(place..(place + junk.len()).min(bytes.len()), junk);
            let mut instance = module.instantiate(None).unwrap();
            match process(&mut instance, &[Sample(0, bytes)]) {
                Ok(processed) => assert!(instance.view(&processed).unwrap().entries().count() <= 1),
                Err(CallError::Fault(fault)) => assert_eq!(fault.kind, FaultKind::Output),
                Err(other) => panic!("{other}"),
            }
        });
    }
}

#[test]
fn lanes_share_the_clock() {
    let fixture = Fixture::new(&guest(&[(
        EACH_RECORD,
        // Does not return from a batch of two records.
        "(loop $forever (br_if $forever (i32.eq (local.get $count) (i32.const 2))))",
    )]));
    let module = fixture.load().unwrap();
    std::thread::scope(|scope| {
        for lane in 0..3_i64 {
            let module = module.clone();
            scope.spawn(move || {
                let mut instance = module.instantiate(None).unwrap();
                for round in 0..20 {
                    let processed = process(&mut instance, &samples(3 + round)).unwrap();
                    instance.release(processed).unwrap();
                }
                let input = Input {
                    topic: "in",
                    partition: 0,
                    records: &samples(2),
                    stream_times_ms: &[],
                };
                let deadline = Duration::from_millis(50 * u64::try_from(lane).unwrap());
                let error = instance.process(&input, Some(deadline)).unwrap_err();
                assert!(error.to_string().starts_with("deadline: "), "{error}");
            });
        }
    });
}

/// Counts what is logged for guests.
struct Count(Arc<Mutex<Vec<String>>>);

impl std::io::Write for Count {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap()
            .push(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_chatty_guest_fills_no_log() {
    let chat = "(call $log (i32.const 2) (i32.const 2048) (i32.const 26))";
    let lines = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&lines);
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || Count(Arc::clone(&writer)))
        .finish();
    tracing::subscriber::with_default(log, || {
        let mut instance = instance(&[(EACH_RECORD, chat)]);
        for _ in 0..3 {
            let processed = process(&mut instance, &samples(1000)).unwrap();
            instance.release(processed).unwrap();
        }
    });
    let lines = lines.lock().unwrap();
    let told = lines.iter().filter(|line| line.contains("no such luck")).count();
    assert!((1..=200).contains(&told), "{told} lines of 3,000");
}
