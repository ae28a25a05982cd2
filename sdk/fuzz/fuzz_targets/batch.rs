//! Bytes that a guest returned, or that a host handed over, never make a reader panic, and
//! what an accepted output batch holds can be written again and reads the same. So with the bytes
//! of a stream time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait_sdk::StreamTime;
use strait_sdk::batch::{Builder, Emit, Entry, Headers, InputView, Limits, NewEmit, OutputView, progress};

const LIMITS: Limits = Limits {
    records: 64,
    outputs: 4,
    stores: 2,
};

fuzz_target!(|bytes: &[u8]| {
    read_input(bytes);
    read_output(bytes);
    read_stream_time(bytes);
});

fn read_stream_time(bytes: &[u8]) {
    if let Some(mut time) = StreamTime::from_bytes(bytes) {
        assert_eq!(time.to_bytes(), bytes);
        let reached = time.reached_ms();
        time.observe(1);
        assert!(time.reached_ms() >= reached);
    }
}

fn read_input(bytes: &[u8]) {
    let _hint = progress(bytes);
    if let Ok(view) = InputView::parse(bytes) {
        for record in view.records().take(bytes.len() + 1).flatten() {
            assert_eq!(record.headers.iter().count(), record.headers.len());
        }
    }
}

fn read_output(bytes: &[u8]) {
    if let Ok(view) = OutputView::reopen(bytes) {
        view.entries().for_each(drop);
    }
    let Ok(view) = OutputView::parse(bytes, LIMITS) else {
        return;
    };
    assert_eq!(view.entries().count(), view.len());
    let mut out = Builder::new(LIMITS.records);
    for entry in view.entries() {
        out.begin(entry.origin()).unwrap();
        match entry {
            Entry::Emit(emit) => write(&mut out, emit),
            Entry::Reject { reason, .. } => out.reject(reason).unwrap(),
            Entry::Retry { reason, .. } => out.retry(reason).unwrap(),
            Entry::State(op) => match op.value {
                Some(value) => out.state_put(op.store, op.key, value, op.ttl_ms).unwrap(),
                None => out.state_delete(op.store, op.key).unwrap(),
            },
        }
    }
    let again = out.finish();
    let again = OutputView::parse(&again, LIMITS).unwrap();
    let without_ttl = |entry: Entry<'_>| match entry {
        // A delete has no time to live, so what a guest writes there is not kept.
        Entry::State(op) if op.value.is_none() => format!("{:?} {:?} {:?}", op.origin, op.store, op.key),
        other => format!("{other:?}"),
    };
    assert!(
        again
            .entries()
            .map(without_ttl)
            .eq(view.entries().map(without_ttl))
    );
}

fn write(out: &mut Builder, emit: Emit<'_>) {
    let Emit {
        output,
        key,
        value,
        timestamp_ms,
        partition,
        ..
    } = emit;
    let new = NewEmit {
        output,
        key,
        value,
        timestamp_ms,
        partition,
    };
    match emit.headers {
        Headers::Inherit => out.emit(&new).unwrap(),
        Headers::List(list) => out.emit_with_headers(&new, &list).unwrap(),
    }
}
