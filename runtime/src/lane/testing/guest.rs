//! A transform in this process: a record's value says what becomes of it.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use strait_sdk::batch::{Builder, Field, NewEmit, Record};

use crate::guest::{CallError, FaultKind, GuestFault, Input, StateAccess};
use crate::stage::{Guest, GuestFactory};

/// `drop`: filtered. `reject`: rejected. `retry`: tried again for ever. `trap`: takes its
/// batch down. `slow`: hits the deadline. `count`: adds one to what the state holds under the
/// record's key, and passes with the sum behind its value; `big` does so and passes with more than
/// any topic takes, `undo` and is rejected; `swell` does so and keeps a kilobyte more. `recall` counts by what it remembers from earlier calls, and
/// looks at the state for what it does not; `relapse` does so and passes with more than any topic takes. Everything else passes through.
#[derive(Debug, Clone, Default)]
pub struct Script;

pub struct Running {
    state: Option<Rc<dyn StateAccess>>,
    remembered: Sums,
}

/// By partition and key.
type Sums = HashMap<(i32, Vec<u8>), u64>;

impl GuestFactory for Script {
    type Guest = Running;

    fn instantiate(&self, state: Option<Rc<dyn StateAccess>>) -> Result<Running, GuestFault> {
        Ok(Running {
            state,
            remembered: Sums::new(),
        })
    }

    fn sha256(&self) -> &'static str {
        "0000"
    }
}

impl Guest for Running {
    type Processed = Vec<u8>;

    fn process<R: Record>(
        &mut self,
        input: &Input<'_, R>,
        _: Option<Duration>,
    ) -> Result<Vec<u8>, CallError> {
        let mut builder = Builder::new(u32::try_from(input.records.len()).unwrap());
        let mut sums = Sums::new();
        for (index, record) in input.records.iter().enumerate() {
            builder.begin(u32::try_from(index).unwrap()).unwrap();
            let value = record.value().unwrap_or_default();
            match value.split(|b| *b == b' ').next().unwrap_or_default() {
                b"drop" => {}
                b"reject" => builder.reject("as told").unwrap(),
                b"retry" => {
                    builder.retry("as told").unwrap();
                    break;
                }
                b"trap" => return Err(fault(FaultKind::Trap, index)),
                b"slow" => return Err(fault(FaultKind::Deadline, index)),
                what @ (b"count" | b"big" | b"undo" | b"swell" | b"recall" | b"relapse") => {
                    let key = record.key().unwrap();
                    let remembers = matches!(what, b"recall" | b"relapse");
                    let sums = if remembers {
                        &mut self.remembered
                    } else {
                        &mut sums
                    };
                    let before = count(self.state.as_deref(), input, index, sums);
                    builder
                        .state_put(0, key, &(before + 1).to_le_bytes(), None)
                        .unwrap();
                    if what == b"swell" {
                        let key = [key, b"+"].concat();
                        builder.state_put(0, &key, &[0; 1024], None).unwrap();
                    }
                    if what == b"undo" {
                        sums.insert((input.partition, key.to_vec()), before);
                        builder.reject("as told").unwrap();
                        continue;
                    }
                    let mut value = [value, format!(":{}", before + 1).as_bytes()].concat();
                    if matches!(what, b"big" | b"relapse") {
                        value.resize(2 << 20, b' ');
                    }
                    emit(&mut builder, Field::Bytes(&value));
                }
                _ => emit(&mut builder, Field::Inherit),
            }
        }
        Ok(builder.finish())
    }

    fn output<'a>(&'a self, processed: &'a Vec<u8>) -> &'a [u8] {
        processed
    }

    fn release(&mut self, _: Vec<u8>) -> Result<(), GuestFault> {
        Ok(())
    }
}

/// What the record's key has counted before it. Counts this one too.
fn count<R: Record>(
    state: Option<&dyn StateAccess>,
    input: &Input<'_, R>,
    index: usize,
    sums: &mut Sums,
) -> u64 {
    let key = input.records[index].key().unwrap();
    let sum = sums.entry((input.partition, key.to_vec())).or_insert_with(|| {
        let found = state.unwrap().get(0, key, input.stream_times_ms[index]).unwrap();
        found.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
    });
    *sum += 1;
    *sum - 1
}

fn emit(builder: &mut Builder, value: Field<'_>) {
    builder
        .emit(&NewEmit {
            output: 0,
            key: Field::Inherit,
            value,
            timestamp_ms: None,
            partition: None,
        })
        .unwrap();
}

fn fault(kind: FaultKind, record: usize) -> CallError {
    CallError::Fault(GuestFault {
        kind,
        message: "as told".to_owned(),
        record: Some(record),
    })
}
