//! Slots of the pool: reused, clean, and never lost.

use super::*;

#[test]
fn a_thousand_replaced_instances_leave_their_slots_clean() {
    // Leaves a mark in fresh memory and traps; a mark that is already there gives a result.
    let mark = format!(
        "(if (i32.load (i32.const 60000)) (then (return {PROCESS}))) \
         (i32.store (i32.const 60000) (i32.const 1)) (unreachable)"
    );
    let fixture = Fixture::new(&guest(&[(PROCESS, &mark)]));
    let engine = Engine::new(&EngineSettings {
        instances_max: 1,
        ..settings()
    })
    .unwrap();
    let module = fixture.load_in(&engine).unwrap();
    for round in 0..1000 {
        let mut instance = module
            .instantiate(None)
            .unwrap_or_else(|fault| panic!("round {round}: {fault}"));
        assert_eq!(fault(&mut instance).kind, FaultKind::Trap);
    }
}

#[test]
fn a_full_pool_is_a_fault_until_an_instance_goes() {
    let fixture = Fixture::new(IDENTITY);
    let engine = Engine::new(&EngineSettings {
        instances_max: 1,
        ..settings()
    })
    .unwrap();
    let module = fixture.load_in(&engine).unwrap();
    let mut instances = Vec::new();
    let fault = loop {
        match module.instantiate(None) {
            Ok(instance) => instances.push(instance),
            Err(fault) => break fault,
        }
        assert!(instances.len() < 100, "the pool has no end");
    };
    assert_eq!(fault.kind, FaultKind::Memory);
    assert!(fault.message.contains("no room"), "{fault}");
    instances.pop();
    assert!(module.instantiate(None).is_ok());
}

#[test]
fn without_address_space_for_a_pool_it_goes_on_without() {
    // 4 GiB each: more than the 128 TiB that a process can address.
    let huge = EngineSettings {
        instances_max: 100_000,
        ..settings()
    };
    let module = Fixture::new(IDENTITY)
        .load_in(&Engine::new(&huge).unwrap())
        .unwrap();
    assert!(process(&mut module.instantiate(None).unwrap(), &samples(5)).is_ok());
}
