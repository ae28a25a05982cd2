//! Free ports, picked so that parallel processes rarely meet and never fail on it.
//!
//! Ports come from below the range that systems hand out to outgoing connections
//! (32768 on Linux, 49152 elsewhere), so a node that is stopped for a while finds its
//! port free again. Between the look here and the broker's bind another process may
//! still take one: the start then fails with "Address already in use" and is tried
//! again with other ports.

use std::net::{Ipv4Addr, TcpListener};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::BrokerError;

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;
const TRIES: usize = 2_000;

/// `count` distinct ports on which nobody listens just now.
pub fn pick(count: usize) -> Result<Vec<u16>, BrokerError> {
    let mut rng = SmallRng::from_os_rng();
    let mut picked = Vec::with_capacity(count);
    for _ in 0..TRIES {
        if picked.len() == count {
            return Ok(picked);
        }
        let port = rng.random_range(FIRST..LAST);
        if !picked.contains(&port) && is_free(port) {
            picked.push(port);
        }
    }
    Err(BrokerError::NoPorts)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_distinct_ports_in_range() {
        let mut ports = pick(6).unwrap();
        assert!(ports.iter().all(|p| (FIRST..LAST).contains(p)), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 6);
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(held.local_addr().unwrap().port()));
    }
}
