//! Keyed state as a guest reads it. What it writes travels with its answer.

use std::time::Instant;

use wasmtime::{Caller, Linker, Trap};

use super::abi;
use super::host::HostState;

/// What a guest may ask of the state: what the calls before this one left. An error is no record's
/// fault, and ends the call.
pub trait StateAccess {
    /// The value under a key, unless it has expired at this stream time.
    fn get(&self, store: u16, key: &[u8], time_ms: i64) -> Result<Option<Vec<u8>>, String>;

    /// Entries in the order of their keys, which begin with `prefix` and are behind `after`: as many
    /// as make a page, each as length of key and of value (u32, little-endian), key and value.
    /// Empty: there are no more. What has expired may take its time to be passed over: not beyond `until`.
    fn scan(
        &self,
        store: u16,
        prefix: &[u8],
        after: &[u8],
        time_ms: i64,
        until: Option<Instant>,
    ) -> Result<Vec<u8>, NoPage>;
}

/// Why a scan found no page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPage {
    /// The time of the call is over.
    Late,
    /// No record's fault.
    Trouble(String),
}

pub(super) fn define(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.func_wrap(abi::HOST_MODULE, abi::HOST_STATE_GET, get)?;
    linker.func_wrap(abi::HOST_MODULE, abi::HOST_STATE_SCAN, scan)?;
    Ok(())
}

fn get(
    mut caller: Caller<'_, HostState>,
    store: i32,
    key: i32,
    key_len: i32,
    time_ms: i64,
    answer: i32,
) -> wasmtime::Result<()> {
    let found = ask(&mut caller, |state, memory| {
        let key = abi::slice(memory, key, key_len)?;
        Some(state.get(place(store), key, time_ms).map_err(NoPage::Trouble))
    })?;
    let list = found.map(|value| hand_over(&mut caller, &value)).transpose()?;
    let memory = memory(&mut caller)?;
    abi::write_option(memory, answer, list).ok_or_else(outside)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the lowering of three lists and two numbers"
)]
fn scan(
    mut caller: Caller<'_, HostState>,
    store: i32,
    prefix: i32,
    prefix_len: i32,
    after: i32,
    after_len: i32,
    time_ms: i64,
    answer: i32,
) -> wasmtime::Result<()> {
    let until = caller.data().until;
    let page = ask(&mut caller, |state, memory| {
        let prefix = abi::slice(memory, prefix, prefix_len)?;
        let after = abi::slice(memory, after, after_len)?;
        Some(state.scan(place(store), prefix, after, time_ms, until))
    })?;
    let list = hand_over(&mut caller, &page)?;
    let memory = memory(&mut caller)?;
    abi::write_list(memory, answer, list).ok_or_else(outside)
}

/// Asks the state. What is no fault of a record ends the call as trouble of the pipeline; guests cannot be
/// interrupted while the host works for them, so a call that is late ends here.
fn ask<T>(
    caller: &mut Caller<'_, HostState>,
    question: impl FnOnce(&dyn StateAccess, &[u8]) -> Option<Result<T, NoPage>>,
) -> wasmtime::Result<T> {
    let Some(state) = caller.data().state.clone() else {
        let trouble = "the transform reads state, and the pipeline declares no store; add it to `state`";
        return Err(end(caller, trouble.to_owned()));
    };
    match question(&*state, memory(caller)?) {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(NoPage::Late)) => Err(Trap::Interrupt.into()),
        Some(Err(NoPage::Trouble(trouble))) => Err(end(caller, trouble)),
        None => Err(outside()),
    }
}

fn end(caller: &mut Caller<'_, HostState>, trouble: String) -> wasmtime::Error {
    caller.data_mut().trouble = Some(trouble);
    wasmtime::Error::msg("the state does not answer")
}

/// Copies these bytes into memory that the guest then owns.
fn hand_over(caller: &mut Caller<'_, HostState>, bytes: &[u8]) -> wasmtime::Result<(i32, i32)> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).cast_signed();
    let realloc = caller.data().realloc.clone().ok_or_else(too_early)?;
    let pointer = realloc.call(&mut *caller, (0, 0, 1, length))?;
    let room = abi::range(pointer, length).and_then(|range| memory(caller).ok()?.get_mut(range));
    room.ok_or_else(outside)?.copy_from_slice(bytes);
    Ok((pointer, length))
}

fn memory<'a>(caller: &'a mut Caller<'_, HostState>) -> wasmtime::Result<&'a mut [u8]> {
    let memory = caller.data().memory.ok_or_else(too_early)?;
    Ok(memory.data_mut(caller))
}

/// No store has a place so high.
fn place(store: i32) -> u16 {
    u16::try_from(store).unwrap_or(u16::MAX)
}

fn too_early() -> wasmtime::Error {
    wasmtime::Error::msg("the state was read before the instance was complete")
}

fn outside() -> wasmtime::Error {
    wasmtime::Error::msg("the state was read with something outside the guest's memory")
}
