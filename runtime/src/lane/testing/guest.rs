//! A transform in this process: a record's value says what becomes of it.

use std::time::Duration;

use strait_sdk::batch::{Builder, Field, NewEmit, Record};

use crate::guest::{CallError, FaultKind, GuestFault, Input};
use crate::stage::{Guest, GuestFactory};

/// `drop`: filtered. `reject`: rejected. `retry`: tried again for ever. `trap`: takes its
/// batch down. `slow`: hits the deadline. Everything else passes through.
#[derive(Debug, Clone, Default)]
pub struct Script;

impl GuestFactory for Script {
    type Guest = Self;

    fn instantiate(&self) -> Result<Self, GuestFault> {
        Ok(Self)
    }

    fn sha256(&self) -> &'static str {
        "0000"
    }
}

impl Guest for Script {
    type Processed = Vec<u8>;

    fn process<R: Record>(
        &mut self,
        input: &Input<'_, R>,
        _: Option<Duration>,
    ) -> Result<Vec<u8>, CallError> {
        let mut builder = Builder::new(u32::try_from(input.records.len()).unwrap());
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
                _ => builder
                    .emit(&NewEmit {
                        output: 0,
                        key: Field::Inherit,
                        value: Field::Inherit,
                        timestamp_ms: None,
                        partition: None,
                    })
                    .unwrap(),
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

fn fault(kind: FaultKind, record: usize) -> CallError {
    CallError::Fault(GuestFault {
        kind,
        message: "as told".to_owned(),
        record: Some(record),
    })
}
