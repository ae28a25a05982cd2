//! One loaded transform and the calls into it.
//!
//! Invariants: after an error no guest code runs in this instance again, whoever asks; what
//! the guest returns is checked once before anybody reads it, and again if the guest has
//! run since; no bytes of a guest can make the host panic.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strait_sdk::batch::{self, OutputView};
use wasmtime::{Memory, Store, TypedFunc};

use super::abi::{self, Returned};
use super::clock::{self, Running};
use super::fault::{CallError, FaultKind, GuestFault};
use super::host::{HostState, MESSAGE_BYTES_MAX};
use super::module::Blueprint;
use super::state::StateAccess;

/// Longest description that is read.
const DESCRIPTION_BYTES_MAX: usize = 64 << 10;

/// One loaded transform. Owned by one lane.
pub struct Instance {
    store: Store<HostState>,
    memory: Memory,
    realloc: TypedFunc<(i32, i32, i32, i32), i32>,
    describe: TypedFunc<(), i32>,
    configure: TypedFunc<(i32, i32), i32>,
    process: TypedFunc<(i32, i32), i32>,
    post_process: TypedFunc<i32, ()>,
    blueprint: Arc<Blueprint>,
    /// Set by the first error.
    spent: bool,
    /// Counts calls: what the guest returned before the last one may have changed since.
    calls: u64,
}

/// The records of one guest call.
pub struct Input<'a, R> {
    /// Topic of all records.
    pub topic: &'a str,
    /// Partition of all records.
    pub partition: i32,
    /// In offset order.
    pub records: &'a [R],
    /// The stream time of each, if the pipeline keeps state.
    pub stream_times_ms: &'a [i64],
}

/// A result that lies in guest memory until it is released.
#[must_use]
#[derive(Debug)]
pub struct Processed {
    /// What the guest's `process` returned, for it to free.
    returned: i32,
    bytes: Range<usize>,
    limits: batch::Limits,
    /// `Instance::calls` when the bytes were checked.
    call: u64,
}

/// Why an instance did not start.
pub(super) enum StartError {
    Fault(GuestFault),
    /// `configure` said no.
    Refused(String),
}

impl From<GuestFault> for StartError {
    fn from(fault: GuestFault) -> Self {
        Self::Fault(fault)
    }
}

impl Instance {
    /// Instantiated and configured.
    pub(super) fn start(
        blueprint: &Arc<Blueprint>,
        state: Option<Rc<dyn StateAccess>>,
    ) -> Result<Self, StartError> {
        let mut instance = Self::create(blueprint)?;
        instance.store.data_mut().state = state;
        instance.configure()?;
        Ok(instance)
    }

    /// Instantiated only.
    pub(super) fn create(blueprint: &Arc<Blueprint>) -> Result<Self, GuestFault> {
        let limits = &blueprint.limits;
        let (stage, gate) = (Arc::clone(&blueprint.stage), Arc::clone(&blueprint.gate));
        let host = HostState::new(limits.memory_bytes, stage, gate);
        let mut store = Store::new(blueprint.pre.module().engine(), host);
        store.limiter(|state| &mut state.limiter);
        // The module's start function is guest code as well.
        let running = enter(&mut store, blueprint, limits.batch_deadline);
        let created = Self::link(&mut store, blueprint);
        drop(running);
        match created {
            Ok(link) => Ok(link(store)),
            Err(error) => Err(GuestFault::of_error(&error, store.data())),
        }
    }

    fn link(
        store: &mut Store<HostState>,
        blueprint: &Arc<Blueprint>,
    ) -> wasmtime::Result<impl FnOnce(Store<HostState>) -> Self + use<>> {
        let instance = blueprint.pre.instantiate(&mut *store)?;
        let memory = instance.get_memory(&mut *store, abi::MEMORY);
        let memory = memory.ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
        let realloc = instance.get_typed_func(&mut *store, abi::REALLOC)?;
        let describe = instance.get_typed_func(&mut *store, abi::DESCRIBE)?;
        let configure = instance.get_typed_func(&mut *store, abi::CONFIGURE)?;
        let process = instance.get_typed_func(&mut *store, abi::PROCESS)?;
        let post_process = instance.get_typed_func(&mut *store, abi::POST_PROCESS)?;
        if instance.get_func(&mut *store, abi::INITIALIZE).is_some() {
            instance
                .get_typed_func::<(), ()>(&mut *store, abi::INITIALIZE)?
                .call(&mut *store, ())?;
        }
        store.data_mut().memory = Some(memory);
        store.data_mut().realloc = Some(realloc.clone());
        let blueprint = Arc::clone(blueprint);
        Ok(move |store| Self {
            store,
            memory,
            realloc,
            describe,
            configure,
            process,
            post_process,
            blueprint,
            spent: false,
            calls: 0,
        })
    }

    /// The JSON that the transform describes itself with. Its memory is not given back:
    /// this is asked of an instance on trial.
    pub(super) fn describe(&mut self) -> Result<Vec<u8>, GuestFault> {
        let deadline = self.blueprint.limits.batch_deadline;
        self.call(deadline, |this| {
            let at = this
                .describe
                .call(&mut this.store, ())
                .map_err(|e| this.fault(&e))?;
            let memory = this.memory.data(&this.store);
            let json = abi::list(memory, at).and_then(|range| memory.get(range));
            let json = json.filter(|json| json.len() <= DESCRIPTION_BYTES_MAX);
            json.map(<[u8]>::to_vec)
                .ok_or_else(|| GuestFault::output("describe returned no list of at most 64 KiB"))
        })
    }

    /// Hands over settings and output names.
    pub(super) fn configure(&mut self) -> Result<(), StartError> {
        let deadline = self.blueprint.limits.batch_deadline;
        self.call(deadline, |this| {
            let blueprint = Arc::clone(&this.blueprint);
            let bytes = &blueprint.configuration;
            let (pointer, room) = this.allocate(bytes.len())?;
            if let Some(room) = this.memory.data_mut(&mut this.store).get_mut(room) {
                room.copy_from_slice(bytes);
            }
            let arguments = (pointer, wide(bytes.len()));
            let at = this
                .configure
                .call(&mut this.store, arguments)
                .map_err(|e| this.fault(&e))?;
            let memory = this.memory.data(&this.store);
            match abi::returned(memory, at, false) {
                Some(Returned::Ok(_)) => Ok(()),
                Some(Returned::Err(message)) => Err(StartError::Refused(text(memory, message))),
                None => Err(GuestFault::output("configure returned no result").into()),
            }
        })
    }

    /// One call for all records. After an error the instance must be dropped.
    ///
    /// `deadline` is that of this call; a module of a stage without `batch_deadline` has no
    /// checks and cannot be stopped.
    pub fn process<R: batch::Record>(
        &mut self,
        input: &Input<'_, R>,
        deadline: Option<Duration>,
    ) -> Result<Processed, CallError> {
        self.call(deadline, |this| {
            let processed = this.process_records(input);
            // What the host ended is not the guest's fault.
            match this.store.data_mut().trouble.take() {
                Some(trouble) => Err(CallError::Pipeline(trouble)),
                None => processed,
            }
        })
    }

    fn process_records<R: batch::Record>(&mut self, input: &Input<'_, R>) -> Result<Processed, CallError> {
        let Input {
            topic,
            partition,
            records,
            stream_times_ms,
        } = *input;
        let input = batch::Input {
            topic,
            partition,
            now_ms: now_ms(),
            records,
            stream_times_ms,
        };
        let too_large = |e: batch::TooLarge| GuestFault::new(FaultKind::Memory, e.to_string());
        let length = batch::encoded_len(&input).map_err(too_large)?;
        let (pointer, room) = self.allocate(length)?;
        if let Some(room) = self.memory.data_mut(&mut self.store).get_mut(room.clone()) {
            batch::encode(&input, room).map_err(too_large)?;
        }
        let returned = self.process.call(&mut self.store, (pointer, wide(length)));
        let returned = returned.map_err(|error| {
            let record = self.memory.data(&self.store).get(room).and_then(batch::progress);
            GuestFault {
                record,
                ..self.fault(&error)
            }
        })?;
        let records = u32::try_from(records.len()).unwrap_or(u32::MAX);
        self.accept(
            returned,
            batch::Limits {
                records,
                outputs: self.blueprint.outputs,
                stores: self.blueprint.stores,
            },
        )
    }

    /// Checks all of what `process` returned.
    fn accept(&self, returned: i32, limits: batch::Limits) -> Result<Processed, CallError> {
        let memory = self.memory.data(&self.store);
        let bytes = match abi::returned(memory, returned, true) {
            Some(Returned::Ok(bytes)) => bytes,
            Some(Returned::Err(message)) => return Err(CallError::Pipeline(text(memory, message))),
            None => return Err(GuestFault::output("process returned no result").into()),
        };
        let output_bytes_max = self.blueprint.limits.output_bytes;
        if bytes.len() > output_bytes_max {
            let (found, limit) = (size(bytes.len()), size(output_bytes_max));
            let message = format!("its result has {found}, limits.output_bytes allows {limit}");
            return Err(GuestFault::output(message).into());
        }
        let output = memory.get(bytes.clone()).unwrap_or_default();
        OutputView::parse(output, limits).map_err(|e| GuestFault::output(e.to_string()))?;
        Ok(Processed {
            returned,
            bytes,
            limits,
            call: self.calls,
        })
    }

    /// The result's bytes, read in place. [`Instance::view`] reads them as a batch.
    pub fn output<'a>(&'a self, processed: &'a Processed) -> &'a [u8] {
        self.memory
            .data(&self.store)
            .get(processed.bytes.clone())
            .unwrap_or_default()
    }

    /// The validated result, read in place. It is validated again only if the guest has run
    /// since (a later batch, a release), because it may then have changed it.
    pub fn view<'a>(&'a self, processed: &'a Processed) -> Result<OutputView<'a>, GuestFault> {
        let bytes = self.output(processed);
        let view = if processed.call == self.calls {
            OutputView::reopen(bytes)
        } else {
            OutputView::parse(bytes, processed.limits)
        };
        view.map_err(|e| GuestFault::output(format!("a result changed after it was returned: {e}")))
    }

    /// Gives the result's memory back to the guest.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a result that was released cannot be read"
    )]
    pub fn release(&mut self, processed: Processed) -> Result<(), GuestFault> {
        let Processed { returned, .. } = processed;
        let deadline = self.blueprint.limits.batch_deadline;
        self.call(deadline, |this| {
            this.post_process
                .call(&mut this.store, returned)
                .map_err(|e| this.fault(&e))
        })
    }

    /// Runs guest code against its deadline, and never again after an error.
    fn call<T, E: From<GuestFault>>(
        &mut self,
        deadline: Option<Duration>,
        body: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.spent {
            let message = "the instance failed before and must be replaced";
            return Err(GuestFault::new(FaultKind::Trap, message).into());
        }
        self.calls += 1;
        let running = enter(&mut self.store, &self.blueprint, deadline);
        let result = body(self);
        drop(running);
        self.spent = result.is_err();
        result
    }

    /// Room in the guest's memory, which the call that follows takes over.
    fn allocate(&mut self, length: usize) -> Result<(i32, Range<usize>), GuestFault> {
        let arguments = (0, 0, 1, wide(length));
        let pointer = self
            .realloc
            .call(&mut self.store, arguments)
            .map_err(|e| self.fault(&e))?;
        let room = abi::range(pointer, wide(length));
        let room = room.filter(|room| self.memory.data(&self.store).get(room.clone()).is_some());
        let room = room.ok_or_else(|| GuestFault::output("cabi_realloc returned no memory of its own"))?;
        Ok((pointer, room))
    }

    fn fault(&self, error: &wasmtime::Error) -> GuestFault {
        GuestFault::of_error(error, self.store.data())
    }
}

/// Begins a call: limits count from here, and the clock ticks while the result lives.
fn enter(store: &mut Store<HostState>, blueprint: &Blueprint, deadline: Option<Duration>) -> Option<Running> {
    store.data_mut().begin(deadline);
    let clock = blueprint.clock.as_ref()?;
    store.set_epoch_deadline(deadline.map_or(clock::NO_DEADLINE, clock::ticks));
    Some(clock.run())
}

/// A length as WebAssembly passes it: 32 unsigned bits in a signed type. Batches are
/// shorter than that (`batch::LEN_MAX`), and a longer configuration finds no memory.
fn wide(length: usize) -> i32 {
    u32::try_from(length).unwrap_or(u32::MAX).cast_signed()
}

fn text(memory: &[u8], range: Range<usize>) -> String {
    abi::text(memory.get(range).unwrap_or_default(), MESSAGE_BYTES_MAX).into_owned()
}

fn size(bytes: usize) -> bytesize::ByteSize {
    bytesize::ByteSize(bytes as u64)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
