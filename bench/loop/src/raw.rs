//! The least that is needed of librdkafka's C interface.
#![allow(unsafe_code, reason = "this is the foreign function interface")]

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use rdkafka::bindings as rd;

/// A configuration of `key=value` pairs, later ones winning.
pub struct Conf(*mut rd::rd_kafka_conf_t);

impl Conf {
    pub fn new(pairs: &[(&str, &str)], more: &[String]) -> anyhow::Result<Self> {
        // SAFETY: no arguments.
        let conf = Self(unsafe { rd::rd_kafka_conf_new() });
        for (key, value) in pairs {
            conf.set(key, value)?;
        }
        for pair in more {
            let (key, value) = pair
                .split_once('=')
                .with_context(|| format!("{pair}: not key=value"))?;
            conf.set(key, value)?;
        }
        Ok(conf)
    }

    fn set(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let (key, value) = (CString::new(key)?, CString::new(value)?);
        let mut why = [0_u8; 512];
        // SAFETY: live configuration, C strings, a buffer with its length.
        let outcome = unsafe {
            rd::rd_kafka_conf_set(
                self.0,
                key.as_ptr(),
                value.as_ptr(),
                why.as_mut_ptr().cast(),
                why.len(),
            )
        };
        if outcome != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            bail!("{}", CStr::from_bytes_until_nul(&why)?.to_string_lossy());
        }
        Ok(())
    }

    /// Delivery reports as events: what lets a flush end with the last acknowledgement.
    pub fn with_delivery_events(self) -> Self {
        // SAFETY: live configuration.
        unsafe { rd::rd_kafka_conf_set_events(self.0, rd::RD_KAFKA_EVENT_DR) };
        self
    }

    /// Assignments are taken as they come.
    pub fn with_assignments(self) -> Self {
        // SAFETY: live configuration, a callback of the declared type.
        unsafe { rd::rd_kafka_conf_set_rebalance_cb(self.0, Some(on_rebalance)) };
        self
    }

    pub fn open(self, kind: rd::rd_kafka_type_t) -> anyhow::Result<*mut rd::rd_kafka_t> {
        let mut why = [0_u8; 512];
        // SAFETY: the configuration is given up.
        let client = unsafe { rd::rd_kafka_new(kind, self.0, why.as_mut_ptr().cast(), why.len()) };
        if client.is_null() {
            bail!("{}", CStr::from_bytes_until_nul(&why)?.to_string_lossy());
        }
        Ok(client)
    }
}

/// Until all lanes have their partitions nothing is fetched: what one took meanwhile, and another got
/// assigned, would be copied twice.
pub static STARTED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn on_rebalance(
    client: *mut rd::rd_kafka_t,
    code: rd::rd_kafka_resp_err_t,
    partitions: *mut rd::rd_kafka_topic_partition_list_t,
    _opaque: *mut c_void,
) {
    let assigned = code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    // SAFETY: live client and list, both the library's own.
    unsafe {
        let protocol = rd::rd_kafka_rebalance_protocol(client);
        let cooperative = !protocol.is_null() && CStr::from_ptr(protocol) == c"COOPERATIVE";
        match (cooperative, assigned) {
            (true, true) => drop_error(rd::rd_kafka_incremental_assign(client, partitions)),
            (true, false) => drop_error(rd::rd_kafka_incremental_unassign(client, partitions)),
            (false, true) => drop(rd::rd_kafka_assign(client, partitions)),
            (false, false) => drop(rd::rd_kafka_assign(client, ptr::null())),
        }
        if assigned && !STARTED.load(Ordering::Relaxed) {
            rd::rd_kafka_pause_partitions(client, partitions);
        }
    }
}

fn drop_error(error: *mut rd::rd_kafka_error_t) {
    if !error.is_null() {
        // SAFETY: ours, once.
        unsafe { rd::rd_kafka_error_destroy(error) };
    }
}

/// An error object as a result.
pub fn check(what: &str, error: *mut rd::rd_kafka_error_t) -> anyhow::Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a live error object that is ours, freed once.
    unsafe {
        let text = CStr::from_ptr(rd::rd_kafka_error_string(error))
            .to_string_lossy()
            .into_owned();
        rd::rd_kafka_error_destroy(error);
        bail!("{what}: {text}")
    }
}

/// An error code as a result.
pub fn check_code(what: &str, code: rd::rd_kafka_resp_err_t) -> anyhow::Result<()> {
    if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: the name is static.
    let name = unsafe { CStr::from_ptr(rd::rd_kafka_err2name(code)) };
    bail!("{what}: {}", name.to_string_lossy())
}

pub type Value = rd::rd_kafka_vu_s__bindgen_ty_1;
pub use rd::rd_kafka_vtype_t as Kind;

pub fn argument(vtype: Kind, u: Value) -> rd::rd_kafka_vu_t {
    rd::rd_kafka_vu_t { vtype, u }
}

pub fn memory(start: *mut c_void, size: usize) -> Value {
    Value {
        mem: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: start, size },
    }
}

/// Queues a record, waiting while the queue is full.
///
/// # Safety
/// The arguments are as `rd_kafka_produceva` wants them.
pub unsafe fn produce(client: *mut rd::rd_kafka_t, arguments: &[rd::rd_kafka_vu_t]) -> anyhow::Result<()> {
    loop {
        // SAFETY: by contract.
        let error = unsafe { rd::rd_kafka_produceva(client, arguments.as_ptr(), arguments.len()) };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: a live error object.
        let code = unsafe { rd::rd_kafka_error_code(error) };
        if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL {
            return check("produce", error);
        }
        drop_error(error);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

pub const COPY: c_int = rd::RD_KAFKA_MSG_F_COPY;
