//! What the network does.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{Flow, Listener, Proxy, Wire};
use super::build::{end_txn, other};
use super::node::{LIMIT, Stage, answer};
use crate::wait;

const DELAY: Duration = Duration::from_millis(300);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_byte_passes_in_order(
        frames in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300), 1_usize..400),
            1..15,
        ),
        chunks in proptest::collection::vec(1_usize..100_000, 1..10),
        delayed in any::<bool>(),
    ) {
        let stage = Stage::new(0);
        if delayed {
            let flow = Flow::Lossy { delay: Duration::from_millis(1), chance: 0.5, stall: Duration::from_millis(3) };
            stage.proxy.requests(flow);
            stage.proxy.replies(flow);
        }
        let frames: Vec<_> = (0..).zip(frames).map(|(number, (transaction, body, times))| {
            if transaction { end_txn(number, "id", true) } else { other(number, &body.repeat(times)) }
        }).collect();
        let mut client = stage.client();
        let stream = frames.concat();
        let mut sender = client.0.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let mut rest = stream.as_slice();
            for length in chunks.into_iter().cycle() {
                let (chunk, later) = rest.split_at(length.min(rest.len()));
                std::io::Write::write_all(&mut sender, chunk).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
        });
        for frame in &frames {
            prop_assert_eq!(client.receive(), answer(frame, 0));
        }
        sending.join().unwrap();
        prop_assert_eq!(stage.node.got(), frames);
        prop_assert_eq!(stage.wire.counts().undecoded, 0);
    }
}

#[test]
fn what_is_held_stays_in_order_and_arrives_when_it_heals() {
    let stage = Stage::new(0);
    let mut client = stage.client();
    client.send(&other(0, b"before"));
    client.receive();
    stage.proxy.isolate();
    let frames: Vec<_> = (1..20).map(|number| other(number, b"held")).collect();
    client.send(&frames.concat());
    stage.wait_held(frames.concat().len());
    assert!(client.is_silent());
    assert_eq!(stage.node.got().len(), 1);

    stage.proxy.heal();
    for frame in &frames {
        assert_eq!(client.receive(), answer(frame, 0));
    }
    assert_eq!(stage.node.got()[1..], frames);
    wait::until_true("nothing held", LIMIT, || Ok(stage.proxy.held_bytes() == 0)).unwrap();
}

#[test]
fn directions_are_held_apart() {
    let stage = Stage::new(0);
    let mut client = stage.client();
    stage.proxy.replies(Flow::Hold);
    client.send(&end_txn(1, "id", true));
    let sent = stage
        .wire
        .wait("id", "a commit sent", LIMIT, |counts| counts.commits == 1);
    assert_eq!(sent.unwrap().committed, 0);
    stage.wait_held(1);
    assert!(client.is_silent());
    assert_eq!(stage.wire.counts().committed, 0);
    stage.proxy.heal();
    client.receive();
}

#[test]
fn a_held_connection_presses_back() {
    let stage = Stage::new(0);
    stage.proxy.requests(Flow::Hold);
    let client = stage.client();
    client
        .0
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let frame = other(1, &vec![0; 1 << 20]);
    let sent = (0..100).take_while(|_| std::io::Write::write_all(&mut &client.0, &frame).is_ok());
    assert!(sent.count() < 40, "nobody stopped the sender");
    let held = stage.proxy.held_bytes();
    assert!((1 << 20..16 << 20).contains(&held), "{held}");
}

#[test]
fn a_request_outlives_its_client_in_the_network() {
    let stage = Stage::new(0);
    let mut client = stage.client();
    client.send(&other(1, b"before"));
    client.receive();
    stage.proxy.isolate();
    let late = end_txn(2, "id", true);
    client.send(&late);
    stage.wait_held(late.len());
    drop(client);
    stage.proxy.heal();
    stage.node.wait_for(2);
    assert_eq!(stage.node.got()[1], late);
    stage.node.wait_ended(1);
    // The reply reached nobody.
    assert_eq!(stage.wire.counts().commits, 1);
}

#[test]
fn who_gives_up_in_isolation_was_never_there() {
    let stage = Stage::new(0);
    stage.proxy.isolate();
    let mut early = stage.client();
    early.send(&other(1, b"gives up"));
    stage.wait_held(1);
    drop(early);
    let mut patient = stage.client();
    patient.send(&other(2, b"waits"));
    wait::until_true("both held", LIMIT, || Ok(stage.proxy.connections() == 2)).unwrap();
    stage.proxy.heal();
    assert_eq!(patient.receive(), answer(&other(2, b"waits"), 0));
    assert_eq!(stage.node.got(), [other(2, b"waits")]);
}

#[test]
fn delays_do_not_add_up() {
    let stage = Stage::new(0);
    stage.proxy.requests(Flow::Delay(DELAY));
    let mut client = stage.client();
    let started = Instant::now();
    for number in 0..20 {
        client.send(&other(number, b"x"));
    }
    client.receive();
    assert!(started.elapsed() >= DELAY);
    for _ in 1..20 {
        client.receive();
    }
    assert!(started.elapsed() < DELAY * 5, "{:?}", started.elapsed());
}

#[test]
fn a_lost_chunk_stalls_what_is_behind_it() {
    let stage = Stage::new(0);
    let flow = |chance| Flow::Lossy {
        delay: Duration::ZERO,
        chance,
        stall: DELAY,
    };
    let mut client = stage.client();
    stage.proxy.requests(flow(0.0));
    client.send(&other(1, b"x"));
    client.receive();
    assert_eq!(stage.proxy.stalls(), 0);
    stage.proxy.requests(flow(1.0));
    let started = Instant::now();
    client.send(&other(1, b"x"));
    client.receive();
    assert!(started.elapsed() >= DELAY);
    assert!(stage.proxy.stalls() > 0);
}

#[test]
fn a_cut_resets_both_sides_and_new_connections_go_through() {
    let stage = Stage::new(0);
    let mut client = stage.client();
    client.send(&other(1, b"x"));
    client.receive();
    stage.proxy.cut();
    assert!(client.is_reset());
    stage.node.wait_ended(1);
    assert_eq!(stage.proxy.cuts(), 1);
    let mut again = stage.client();
    again.send(&other(2, b"x"));
    again.receive();
}

#[test]
fn a_refusing_proxy_lets_nobody_in_until_it_heals() {
    let stage = Stage::new(0);
    let mut client = stage.client();
    client.send(&other(1, b"x"));
    client.receive();
    stage.proxy.refuse();
    assert!(client.is_reset());
    assert!(stage.client().is_reset());
    assert_eq!(stage.proxy.refused(), 1);
    stage.proxy.heal();
    let mut again = stage.client();
    again.send(&other(2, b"x"));
    again.receive();
}

#[test]
fn without_a_node_connections_are_reset() {
    let nobody = Listener::bind().unwrap().address();
    let proxy = Proxy::start(Listener::bind().unwrap(), nobody, Wire::new()).unwrap();
    let address = proxy.address();
    let mut read = [0];
    let answer = std::io::Read::read(&mut TcpStream::connect(address).unwrap(), &mut read);
    assert!(answer.is_err());
    drop(proxy);
    wait::until_true("the port closed", LIMIT, || {
        Ok(TcpStream::connect(address).is_err())
    })
    .unwrap();
}
