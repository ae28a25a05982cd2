//! One wasm stage: its instance, and the results that this gave for the current batch.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strait_sdk::batch::{self, Emit, Entries, Entry, OutputView};

use super::search::Link;
use crate::guest::{self, CallError, GuestFault, Instance, Module, Processed, StateAccess};
use crate::kafka::TopicPartition;
use crate::plan;
use crate::state::session::Session;

/// How often a fresh instance is tried before the module counts as broken.
const INSTANTIATE_TRIES: u32 = 3;

/// What a stage needs of a loaded module. Implemented by [`Module`].
pub trait GuestFactory {
    type Guest: Guest;

    /// `state` is what it may read of the lane's state.
    fn instantiate(&self, state: Option<Rc<dyn StateAccess>>) -> Result<Self::Guest, GuestFault>;
    fn sha256(&self) -> &str;
}

/// What a stage needs of an instance. Implemented by [`Instance`].
pub trait Guest {
    /// A result in the guest's memory.
    type Processed;

    /// One call for all records. After an error the guest is dropped.
    fn process<R: batch::Record>(
        &mut self,
        input: &guest::Input<'_, R>,
        deadline: Option<Duration>,
    ) -> Result<Self::Processed, CallError>;

    /// The result, in place: an output batch that [`OutputView::parse`] has accepted.
    fn output<'a>(&'a self, processed: &'a Self::Processed) -> &'a [u8];

    fn release(&mut self, processed: Self::Processed) -> Result<(), GuestFault>;
}

impl GuestFactory for Module {
    type Guest = Instance;

    fn instantiate(&self, state: Option<Rc<dyn StateAccess>>) -> Result<Instance, GuestFault> {
        Module::instantiate(self, state)
    }

    fn sha256(&self) -> &str {
        Module::sha256(self)
    }
}

impl Guest for Instance {
    type Processed = Processed;

    fn process<R: batch::Record>(
        &mut self,
        input: &guest::Input<'_, R>,
        deadline: Option<Duration>,
    ) -> Result<Processed, CallError> {
        Instance::process(self, input, deadline)
    }

    fn output<'a>(&'a self, processed: &'a Processed) -> &'a [u8] {
        Instance::output(self, processed)
    }

    fn release(&mut self, processed: Processed) -> Result<(), GuestFault> {
        Instance::release(self, processed)
    }
}

/// A stage of one lane.
pub(super) struct WasmStage<F: GuestFactory> {
    pub(super) name: Arc<str>,
    pub(super) sha256: Arc<str>,
    pub(super) batch: plan::BatchLimits,
    /// The output that is the input of the next stage.
    pub(super) next: Option<u16>,
    /// What this stage was given, if it is not the first.
    pub(super) links: Vec<Link>,
    deadline: Option<Duration>,
    state: Option<Rc<Session>>,
    module: F,
    instance: Option<F::Guest>,
    /// In input order. Only the last can lie in the instance.
    segments: Vec<Segment<<F::Guest as Guest>::Processed>>,
}

/// What one call gave.
struct Segment<P> {
    /// Input of this stage that was record 0 of the call.
    first: usize,
    bytes: Bytes<P>,
}

enum Bytes<P> {
    InGuest(P),
    Copied(Vec<u8>),
}

/// What one call said of its records.
pub(super) struct Answer<'a> {
    segment: u32,
    /// Input of this stage that was record 0 of the call.
    pub(super) first: usize,
    pub(super) entries: Entries<'a>,
}

/// Where in the results an entry stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Input of this stage that the entry belongs to.
    pub(super) input: usize,
    pub(super) segment: u32,
    pub(super) entry: u32,
}

impl<F: GuestFactory> WasmStage<F> {
    pub(super) fn new(
        plan: &plan::WasmStage,
        module: F,
        next: Option<u16>,
        state: Option<Rc<Session>>,
    ) -> Result<Self, GuestFault> {
        let instance = module.instantiate(access(state.as_ref()))?;
        Ok(Self {
            name: plan.name.clone(),
            sha256: module.sha256().into(),
            batch: plan.batch,
            next,
            links: Vec::new(),
            deadline: plan.limits.batch_deadline,
            state,
            module,
            instance: Some(instance),
            segments: Vec::new(),
        })
    }

    /// Calls the guest. The result is the last segment. After a fault the instance is gone,
    /// results of earlier calls are not.
    pub(super) fn call<R: batch::Record>(
        &mut self,
        partition: &TopicPartition,
        records: &[R],
        stream_times_ms: &[i64],
        first: usize,
    ) -> Result<(), CallError> {
        self.copy_out();
        if let Some(state) = &self.state {
            state.enter(&self.name);
        }
        let input = guest::Input {
            topic: &partition.topic,
            partition: partition.partition,
            records,
            stream_times_ms,
        };
        let deadline = self.deadline;
        match self.instance()?.process(&input, deadline) {
            Ok(processed) => {
                self.segments.push(Segment {
                    first,
                    bytes: Bytes::InGuest(processed),
                });
                Ok(())
            }
            Err(error) => {
                self.instance = None;
                Err(error)
            }
        }
    }

    /// What the last call gave.
    pub(super) fn last_answer(&self) -> Option<Answer<'_>> {
        self.answers().next_back()
    }

    /// What the calls for this batch gave, in input order.
    pub(super) fn answers(&self) -> impl DoubleEndedIterator<Item = Answer<'_>> {
        self.segments.iter().enumerate().filter_map(|(index, segment)| {
            Some(Answer {
                segment: u32::try_from(index).ok()?,
                first: segment.first,
                entries: OutputView::reopen(self.bytes(segment)).ok()?.entries(),
            })
        })
    }

    /// Everything that the calls for this batch emitted, in input order.
    pub(super) fn emits(&self) -> impl Iterator<Item = (Place, Emit<'_>)> {
        self.answers().flat_map(|answer| {
            let Answer {
                segment,
                first,
                entries,
            } = answer;
            let emits = (0..).zip(entries).filter_map(|(entry, content)| match content {
                Entry::Emit(emit) => Some((entry, emit)),
                _ => None,
            });
            emits.map(move |(entry, emit)| {
                let input = first.saturating_add(emit.origin as usize);
                let place = Place {
                    input,
                    segment,
                    entry,
                };
                (place, emit)
            })
        })
    }

    /// The emission that a link of the next stage refers to, and the input it came from.
    pub(super) fn emit(&self, link: Link) -> Option<(usize, Emit<'_>)> {
        let segment = self.segments.get(link.segment as usize)?;
        let view = OutputView::reopen(self.bytes(segment)).ok()?;
        match view.entry(link.entry as usize)? {
            Entry::Emit(emit) => Some((segment.first.saturating_add(emit.origin as usize), emit)),
            _ => None,
        }
    }

    /// Gives all results back.
    pub(super) fn release(&mut self) {
        self.links.clear();
        while let Some(segment) = self.segments.pop() {
            if let Bytes::InGuest(processed) = segment.bytes {
                self.give_back(processed);
            }
        }
    }

    /// Drops the instance, and with it all results.
    pub(super) fn reset(&mut self) {
        self.links.clear();
        self.segments.clear();
        self.instance = None;
    }

    fn instance(&mut self) -> Result<&mut F::Guest, CallError> {
        let mut tries = 1;
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => loop {
                match self.module.instantiate(access(self.state.as_ref())) {
                    Ok(instance) => break instance,
                    Err(_) if tries < INSTANTIATE_TRIES => tries += 1,
                    Err(fault) => {
                        return Err(CallError::Pipeline(format!(
                            "stage {}: the module no longer starts, tried {tries} times: {fault}",
                            self.name
                        )));
                    }
                }
            },
        };
        Ok(self.instance.insert(instance))
    }

    /// Before a call: what the guest still holds of the call before must not be overwritten.
    fn copy_out(&mut self) {
        let (Some(segment), Some(instance)) = (self.segments.last_mut(), self.instance.as_ref()) else {
            return;
        };
        let Bytes::InGuest(processed) = &segment.bytes else {
            return;
        };
        let copied = Bytes::Copied(instance.output(processed).to_vec());
        if let Bytes::InGuest(processed) = std::mem::replace(&mut segment.bytes, copied) {
            self.give_back(processed);
        }
    }

    fn give_back(&mut self, processed: <F::Guest as Guest>::Processed) {
        let released = self.instance.as_mut().map(|instance| instance.release(processed));
        if let Some(Err(fault)) = released {
            // Nothing is lost: the result was read. The next call makes a fresh instance.
            tracing::warn!(stage = %self.name, %fault, "the guest faulted when it took its result back");
            self.instance = None;
        }
    }

    fn bytes<'a>(&'a self, segment: &'a Segment<<F::Guest as Guest>::Processed>) -> &'a [u8] {
        match (&segment.bytes, &self.instance) {
            (Bytes::Copied(bytes), _) => bytes,
            (Bytes::InGuest(processed), Some(instance)) => instance.output(processed),
            // Only `call`, `release` and `reset` drop an instance, and none leaves a result in it.
            (Bytes::InGuest(_), None) => &[],
        }
    }
}

fn access(state: Option<&Rc<Session>>) -> Option<Rc<dyn StateAccess>> {
    state.map(|state| Rc::clone(state) as Rc<dyn StateAccess>)
}
