//! A guest that returns malformed batches, as its records tell it to.
//!
//! A record whose value is `malformed:NAME` spoils the answer to its batch with the damage of
//! that name (see [`DAMAGES`]); two more, `malformed:pointer` and `malformed:tag`, spoil the
//! way in which the batch is returned. All other records pass.
//!
//! The exported functions are written by hand, since the SDK takes care that none of this can
//! happen. Nothing is ever freed.

use strait_sdk::batch::{Builder, ENTRY_LEN, Field, InputView, NewEmit, OUTPUT_HEADER_LEN};

/// Spoils a valid batch.
type Damage = fn(Vec<u8>) -> Vec<u8>;

/// Each damage by its name.
pub const DAMAGES: [(&str, Damage); 16] = [
    ("empty", |_| Vec::new()),
    ("short", |batch| {
        batch.into_iter().take(OUTPUT_HEADER_LEN - 1).collect()
    }),
    ("magic", |batch| with(batch, 0, b"X")),
    ("version", |batch| with(batch, 4, &[2])),
    ("flags", |batch| with(batch, 32, &[1])),
    ("total-len", |batch| [batch, vec![0]].concat()),
    ("entry-count", |batch| with(batch, 12, &[0xFF; 4])),
    ("entries-offset", |batch| with(batch, 20, &[0xFF; 4])),
    ("heap-len", |batch| with(batch, 28, &[0xFF; 4])),
    ("origin", |batch| with(batch, ENTRY, &[0xFF; 4])),
    ("order", |batch| swap_first_two(with(batch, ENTRY, &[0; 4]))),
    ("output", |batch| with(batch, ENTRY + 4, &[0xFF; 2])),
    ("kind", |batch| with(batch, ENTRY + 6, &[9])),
    ("inherit", |batch| with(batch, ENTRY + 7, &[0xF0])),
    ("value", |batch| {
        with(with(batch, ENTRY + 7, &[0]), ENTRY + 24, &[0xFF; 4])
    }),
    ("reason", |batch| {
        with(with(batch, ENTRY + 6, &[1]), ENTRY + 28, &[0xFF; 4])
    }),
];

const ENTRY: usize = OUTPUT_HEADER_LEN;

/// Passes all records through, or returns what it was told to. `None` if the input is no batch.
pub fn answer(input: &[u8]) -> Option<Vec<u8>> {
    let view = InputView::parse(input).ok()?;
    let mut out = Builder::new(view.len());
    for index in 0..view.len() {
        out.begin(index).ok()?;
        let pass = NewEmit {
            output: 0,
            key: Field::Inherit,
            value: Field::Inherit,
            timestamp_ms: None,
            partition: None,
        };
        out.emit(&pass).ok()?;
    }
    let batch = out.finish();
    match DAMAGES.iter().find(|(name, _)| told(input, name)) {
        Some((_, damage)) => Some(damage(batch)),
        None => Some(batch),
    }
}

/// Whether a record asks for this damage.
fn told(input: &[u8], name: &str) -> bool {
    let wanted = format!("malformed:{name}");
    let Ok(view) = InputView::parse(input) else {
        return false;
    };
    view.records()
        .flatten()
        .any(|record| record.value == Some(wanted.as_bytes()))
}

fn with(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    if let Some(place) = batch.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
    batch
}

/// Needs a batch of two records.
fn swap_first_two(mut batch: Vec<u8>) -> Vec<u8> {
    for at in ENTRY..ENTRY + ENTRY_LEN {
        if at + ENTRY_LEN < batch.len() {
            batch.swap(at, at + ENTRY_LEN);
        }
    }
    batch
}

#[cfg(target_arch = "wasm32")]
mod exports {
    #![allow(unsafe_code, reason = "exports are written by hand")]

    /// What `process` returns: `result<list<u8>, string>`.
    #[repr(C)]
    pub struct Returned {
        tag: u8,
        ptr: *const u8,
        len: usize,
    }

    fn give(tag: u8, bytes: Vec<u8>) -> *const Returned {
        let bytes = bytes.leak();
        Box::leak(Box::new(Returned {
            tag,
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }))
    }

    #[unsafe(export_name = "cabi_realloc")]
    extern "C" fn realloc(_old: *mut u8, _old_len: usize, _align: usize, len: usize) -> *mut u8 {
        vec![0; len].leak().as_mut_ptr()
    }

    /// `list<u8>`, as it is returned.
    #[repr(C)]
    pub struct Listed {
        ptr: *const u8,
        len: usize,
    }

    #[unsafe(export_name = "strait:transform/guest@1.0.0#describe")]
    extern "C" fn describe() -> *const Listed {
        let text = r#"{"name":"malformed","version":"0.1.0","sdk_version":"0.1.0","format_version":1}"#;
        Box::leak(Box::new(Listed {
            ptr: text.as_ptr(),
            len: text.len(),
        }))
    }

    #[unsafe(export_name = "strait:transform/guest@1.0.0#configure")]
    extern "C" fn configure(_config: *const u8, _len: usize) -> *const Returned {
        give(0, Vec::new())
    }

    #[unsafe(export_name = "strait:transform/guest@1.0.0#process")]
    extern "C" fn process(batch: *const u8, len: usize) -> *const Returned {
        // SAFETY: the host filled this memory, which `realloc` gave it.
        let input = unsafe { std::slice::from_raw_parts(batch, len) };
        if super::told(input, "tag") {
            return give(7, Vec::new());
        }
        if super::told(input, "pointer") {
            let ptr = std::ptr::without_provenance(usize::MAX - 16);
            return Box::leak(Box::new(Returned {
                tag: 0,
                ptr,
                len: 1 << 20,
            }));
        }
        match super::answer(input) {
            Some(output) => give(0, output),
            None => give(1, b"the input is no batch".to_vec()),
        }
    }

    #[unsafe(export_name = "cabi_post_strait:transform/guest@1.0.0#describe")]
    extern "C" fn post_describe(_returned: *const Listed) {}

    #[unsafe(export_name = "cabi_post_strait:transform/guest@1.0.0#configure")]
    extern "C" fn post_configure(_returned: *const Returned) {}

    #[unsafe(export_name = "cabi_post_strait:transform/guest@1.0.0#process")]
    extern "C" fn post_process(_returned: *const Returned) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use strait_sdk::batch::{Input, Limits, OutputView, Record, encode, encoded_len};

    struct Value<'a>(&'a str);

    impl Record for Value<'_> {
        fn offset(&self) -> i64 {
            0
        }
        fn timestamp_ms(&self) -> i64 {
            0
        }
        fn key(&self) -> Option<&[u8]> {
            None
        }
        fn value(&self) -> Option<&[u8]> {
            Some(self.0.as_bytes())
        }
        fn header_count(&self) -> usize {
            0
        }
        fn header(&self, _index: usize) -> Option<(&[u8], Option<&[u8]>)> {
            None
        }
    }

    /// Whether the host takes the answer to a batch of `fine` and this.
    fn taken(value: &str) -> bool {
        let records = [Value("fine"), Value(value)];
        let input = Input {
            topic: "t",
            partition: 0,
            now_ms: 0,
            records: &records,
            stream_times_ms: &[],
        };
        let mut bytes = vec![0; encoded_len(&input).unwrap()];
        encode(&input, &mut bytes).unwrap();
        let limits = Limits {
            records: 2,
            outputs: 1,
            stores: 0,
        };
        OutputView::parse(&answer(&bytes).unwrap(), limits).is_ok()
    }

    #[test]
    fn each_damage_is_seen() {
        assert!(taken("fine"));
        for (name, _) in DAMAGES {
            assert!(!taken(&format!("malformed:{name}")), "{name}");
        }
    }
}
