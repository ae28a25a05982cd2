//! The exported functions: the canonical lowering of `wit/transform.wit` for a core module.
//!
//! Memory passes hands as that standard says. What the host hands over it has allocated with
//! `cabi_realloc`, and the function that takes it frees it. What a function returns stays until
//! the host calls the `cabi_post_` function of that name. All of it lies here, and all else in
//! this crate is safe code.
#![allow(
    unsafe_code,
    reason = "memory that is shared with the host is passed as raw pointers"
)]

/// Exports a transform: `strait_sdk::export!(MyTransform);`, once in a crate of type `cdylib`.
///
/// Outside of WebAssembly it checks the type and exports nothing.
#[macro_export]
macro_rules! export {
    ($transform:ty) => {
        const _: fn() = || {
            fn is_a_transform<T: $crate::Transform>() {}
            is_a_transform::<$transform>();
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(
            clippy::unnecessary_box_returns,
            reason = "the host is given the address"
        )]
        const _: () = {
            use $crate::__export as sdk;

            ::std::thread_local! {
                static GUEST: ::std::cell::RefCell<::std::option::Option<sdk::Guest<$transform>>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            #[unsafe(export_name = "cabi_realloc")]
            extern "C" fn realloc(
                old: sdk::Address,
                old_len: usize,
                align: usize,
                new_len: usize,
            ) -> sdk::Address {
                sdk::realloc(old, old_len, align, new_len)
            }

            #[unsafe(export_name = "strait:transform/guest@1.0.0#describe")]
            extern "C" fn describe() -> ::std::boxed::Box<sdk::Listed> {
                sdk::describe(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            }

            #[unsafe(export_name = "cabi_post_strait:transform/guest@1.0.0#describe")]
            extern "C" fn post_describe(returned: ::std::boxed::Box<sdk::Listed>) {
                drop(returned);
            }

            #[unsafe(export_name = "strait:transform/guest@1.0.0#configure")]
            extern "C" fn configure(config: sdk::Address, len: usize) -> ::std::boxed::Box<sdk::Returned> {
                GUEST.with(|guest| sdk::configure(guest, config, len))
            }

            #[unsafe(export_name = "cabi_post_strait:transform/guest@1.0.0#configure")]
            extern "C" fn post_configure(returned: ::std::boxed::Box<sdk::Returned>) {
                drop(returned);
            }

            #[unsafe(export_name = "strait:transform/guest@1.0.0#process")]
            extern "C" fn process(batch: sdk::Address, len: usize) -> ::std::boxed::Box<sdk::Returned> {
                GUEST.with(|guest| sdk::process(guest, batch, len))
            }

            #[unsafe(export_name = "cabi_post_strait:transform/guest@1.0.0#process")]
            extern "C" fn post_process(returned: ::std::boxed::Box<sdk::Returned>) {
                drop(returned);
            }
        };
    };
}

#[cfg(target_arch = "wasm32")]
pub use wasm::*;

#[cfg(target_arch = "wasm32")]
mod wasm {
    use std::alloc::{Layout, alloc, handle_alloc_error, realloc as resize};
    use std::cell::RefCell;

    use crate::guest::{Failure, Guest};
    use crate::log::Level;
    use crate::{Transform, batch};

    #[link(wasm_import_module = "strait:transform/host@1.0.0")]
    unsafe extern "C" {
        #[link_name = "log"]
        safe fn host_log(level: i32, message: *const u8, len: usize);

        #[link_name = "state-get"]
        safe fn host_state_get(store: u32, key: *const u8, len: usize, time_ms: i64, found: &mut Found);

        #[link_name = "state-scan"]
        safe fn host_state_scan(
            store: u32,
            prefix: *const u8,
            prefix_len: usize,
            after: *const u8,
            after_len: usize,
            time_ms: i64,
            page: &mut Page,
        );
    }

    pub(crate) fn log(level: Level, message: &str) {
        host_log(level as i32, message.as_ptr(), message.len());
    }

    /// What a key of a store holds, as far as earlier calls wrote it.
    pub(crate) fn state_get(store: u16, key: &[u8], time_ms: i64) -> Option<Vec<u8>> {
        let mut found = Found {
            is_some: 0,
            value: Page::EMPTY,
        };
        host_state_get(u32::from(store), key.as_ptr(), key.len(), time_ms, &mut found);
        (found.is_some != 0).then(|| found.value.take())
    }

    /// One page of a store.
    pub(crate) fn state_scan(store: u16, prefix: &[u8], after: &[u8], time_ms: i64) -> Vec<u8> {
        let mut page = Page::EMPTY;
        host_state_scan(
            u32::from(store),
            prefix.as_ptr(),
            prefix.len(),
            after.as_ptr(),
            after.len(),
            time_ms,
            &mut page,
        );
        page.take()
    }

    /// `list<u8>`, as the host hands it over.
    #[repr(C)]
    struct Page {
        ptr: *mut u8,
        len: usize,
    }

    /// `option<list<u8>>`, as the host hands it over.
    #[repr(C)]
    struct Found {
        is_some: u8,
        value: Page,
    }

    impl Page {
        const EMPTY: Self = Self {
            ptr: std::ptr::null_mut(),
            len: 0,
        };

        fn take(self) -> Vec<u8> {
            take(Address(self.ptr), self.len).into_vec()
        }
    }

    /// What the host hands over, or is handed: only it and this module can make one.
    #[repr(transparent)]
    pub struct Address(*mut u8);

    /// `list<u8>`, as it is returned. What the host does not read follows behind.
    #[repr(C)]
    pub struct Listed {
        ptr: *mut u8,
        len: usize,
        capacity: usize,
    }

    /// `result<list<u8>, string>` and `result<_, string>`, as they are returned.
    #[repr(C)]
    pub struct Returned {
        is_error: u8,
        bytes: Listed,
    }

    impl Listed {
        fn new(bytes: Vec<u8>) -> Self {
            let mut bytes = std::mem::ManuallyDrop::new(bytes);
            Self {
                ptr: bytes.as_mut_ptr(),
                len: bytes.len(),
                capacity: bytes.capacity(),
            }
        }
    }

    impl Drop for Listed {
        fn drop(&mut self) {
            // SAFETY: `new` took these three from one vector, which nobody else has.
            drop(unsafe { Vec::from_raw_parts(self.ptr, self.len, self.capacity) });
        }
    }

    impl Returned {
        #[allow(clippy::unnecessary_box_returns, reason = "the host is given the address")]
        fn new(result: Result<Vec<u8>, String>) -> Box<Self> {
            let (is_error, bytes) = match result {
                Ok(bytes) => (0, bytes),
                Err(message) => (1, message.into_bytes()),
            };
            Box::new(Self {
                is_error,
                bytes: Listed::new(bytes),
            })
        }
    }

    pub fn realloc(Address(old): Address, old_len: usize, align: usize, new_len: usize) -> Address {
        let layout = |len| match Layout::from_size_align(len, align) {
            Ok(layout) => layout,
            Err(_) => std::process::abort(),
        };
        if new_len == 0 {
            return Address(std::ptr::without_provenance_mut(align));
        }
        let new = if old_len == 0 {
            // SAFETY: the length is not zero.
            unsafe { alloc(layout(new_len)) }
        } else {
            // SAFETY: by the canonical ABI, `old` came from here with this length and alignment.
            unsafe { resize(old, layout(old_len), new_len) }
        };
        if new.is_null() {
            handle_alloc_error(layout(new_len));
        }
        Address(new)
    }

    pub fn describe(name: &str, version: &str) -> Box<Listed> {
        let described = serde_json::json!({
            "name": name,
            "version": version,
            "sdk_version": env!("CARGO_PKG_VERSION"),
            "format_version": batch::VERSION,
        });
        Box::new(Listed::new(described.to_string().into_bytes()))
    }

    pub fn configure<T: Transform>(
        guest: &RefCell<Option<Guest<T>>>,
        config: Address,
        len: usize,
    ) -> Box<Returned> {
        std::panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("the transform panicked");
            match panic.location() {
                Some(location) => crate::log::error(format_args!("{message} ({location})")),
                None => crate::log::error(message),
            }
        }));
        let config = take(config, len);
        Returned::new(Guest::configure(&config).map(|configured| {
            *guest.borrow_mut() = Some(configured);
            Vec::new()
        }))
    }

    pub fn process<T: Transform>(
        guest: &RefCell<Option<Guest<T>>>,
        batch: Address,
        len: usize,
    ) -> Box<Returned> {
        let mut batch = take(batch, len);
        let processed = match guest.borrow_mut().as_mut() {
            Some(guest) => guest.process(&mut batch),
            None => Err(Failure::Pipeline("a batch came before `configure`".to_owned())),
        };
        Returned::new(processed.map_err(|failure| match failure {
            Failure::Pipeline(message) => message,
            Failure::Fault(message) => {
                crate::log::error(message);
                std::process::abort()
            }
        }))
    }

    /// What the host handed over.
    fn take(Address(bytes): Address, len: usize) -> Box<[u8]> {
        if len == 0 {
            return Box::default();
        }
        // SAFETY: by the canonical ABI, the host allocated this with `cabi_realloc`, with this
        // length and an alignment of one, has filled it, and has given it up.
        unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(bytes, len)) }
    }
}
