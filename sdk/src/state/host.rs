//! Where state lies between calls: in the runtime, or under test in the tester.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::abi::{state_get as get, state_scan as scan};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::host::{get, scan};
