//! Single requests.

use std::time::{Duration, Instant};

use super::super::{Action, Api, Trap};
use super::build::{end_txn, head, other};
use super::node::{LIMIT, Stage, answer};

const DELAY: Duration = Duration::from_millis(300);

#[test]
fn the_request_that_was_meant_is_caught_and_no_other() {
    let stage = Stage::new(0);
    let trap = Trap::new(Api::END_TXN, "mine.", Action::HoldRequest { cut: false });
    let trapped = stage.wire.trap(trap.commits().skip(2));
    let mut client = stage.client();
    let passing = [
        end_txn(1, "mine.0", true),
        end_txn(2, "other.0", true),
        end_txn(3, "mine.0", false),
        end_txn(4, "mine.1", true),
        other(5, b"x"),
    ];
    for frame in &passing {
        client.send(frame);
        assert_eq!(client.receive(), answer(frame, 0));
    }
    assert!(trapped.wait(Duration::ZERO).is_err());

    let held = end_txn(6, "mine.0", true);
    client.send(&held);
    let caught = trapped.wait(LIMIT).unwrap();
    assert_eq!(caught.request().correlation, 6);
    assert_eq!(caught.request().producer, Some((77, 3)));
    // It catches one; others overtake.
    let next = end_txn(7, "mine.0", true);
    client.send(&next);
    assert_eq!(client.receive(), answer(&next, 0));
    assert_eq!(stage.node.got().len(), 6);
    assert_eq!(stage.wire.counts_of("mine.").commits, 3);

    caught.release().unwrap();
    assert_eq!(client.receive(), answer(&held, 0));
    assert_eq!(caught.wait_reply(LIMIT).unwrap(), 0);
    assert_eq!(stage.wire.counts_of("mine.").commits, 4);
}

#[test]
fn a_copy_is_delivered_late() {
    let stage = Stage::new(51);
    let trapped = stage
        .wire
        .trap(Trap::new(Api::END_TXN, "", Action::HoldRequest { cut: true }));
    let mut client = stage.client();
    let frame = end_txn(1, "id", true);
    client.send(&frame);
    let caught = trapped.wait(LIMIT).unwrap();
    assert!(client.is_reset());
    assert!(stage.node.got().is_empty());
    assert!(caught.release().is_err());
    assert_eq!(caught.node(), stage.node.address);
    assert_eq!(caught.deliver(caught.node(), LIMIT).unwrap(), 51);
    assert_eq!(stage.node.got(), [frame]);
}

#[test]
fn a_connection_is_cut_when_the_reply_comes() {
    let stage = Stage::new(47);
    let trapped = stage
        .wire
        .trap(Trap::new(Api::END_TXN, "id", Action::CutBeforeReply));
    let mut client = stage.client();
    client.send(&end_txn(1, "id", false));
    let caught = trapped.wait(LIMIT).unwrap();
    assert_eq!(caught.wait_reply(LIMIT).unwrap(), 47);
    assert!(client.is_reset());
    assert_eq!(stage.node.got().len(), 1);
    let counts = stage.wire.counts();
    assert_eq!((counts.aborts, counts.replies(Api::END_TXN)), (1, 0));
    assert!(stage.wire.recent("id").join(" ").contains("reply cut [47]"));
}

#[test]
fn a_reply_is_held_until_it_is_released_or_the_catch_forgotten() {
    let stage = Stage::new(0);
    let mut client = stage.client();
    for forget in [false, true] {
        let trapped = stage.wire.trap(Trap::new(Api::END_TXN, "id", Action::HoldReply));
        client.send(&[end_txn(1, "id", true), other(2, b"behind")].concat());
        let caught = trapped.wait(LIMIT).unwrap();
        caught.wait_reply(LIMIT).unwrap();
        assert!(client.is_silent());
        if forget {
            drop(caught);
        } else {
            caught.release().unwrap();
        }
        assert_eq!(client.receive(), answer(&end_txn(1, "id", true), 0));
        assert_eq!(client.receive(), answer(&other(2, b"behind"), 0));
    }
}

#[test]
fn a_reply_is_delayed() {
    let stage = Stage::new(0);
    // Of an API that nobody looks into, too.
    let trapped = stage
        .wire
        .trap(Trap::new(Api::METADATA, "client", Action::DelayReply(DELAY)));
    let mut client = stage.client();
    let started = Instant::now();
    client.send(&other(1, b"x"));
    client.receive();
    assert!(started.elapsed() >= DELAY);
    let caught = trapped.wait(LIMIT).unwrap();
    assert!(caught.wait_reply(LIMIT).is_err(), "no code to be read");
}

#[test]
fn a_trap_that_is_taken_away_catches_nothing() {
    let stage = Stage::new(0);
    let mut client = stage.client();
    drop(stage.wire.trap(Trap::new(Api::END_TXN, "", Action::HoldReply)));
    client.send(&end_txn(1, "id", true));
    client.receive();
}

#[test]
fn counts_are_kept_for_each_owner() {
    let stage = Stage::new(16);
    let mut client = stage.client();
    let before = stage.wire.counts();
    let unknown = head(Api::END_TXN, 9, 4, "a.client", true).frame();
    for frame in [
        end_txn(1, "a.0", true),
        end_txn(2, "a.1", false),
        end_txn(3, "b.0", true),
    ] {
        client.send(&frame);
        client.receive();
    }
    client.send(&unknown);
    client.receive();
    let reached = |counts: &super::super::Counts| counts.replies(Api::END_TXN) == 3;
    let a = stage.wire.wait("a.", "three replies", LIMIT, reached).unwrap();
    assert_eq!((a.commits, a.aborts, a.committed, a.undecoded), (1, 1, 0, 1));
    assert_eq!(a.code(Api::END_TXN, 16), 2);
    let all = stage.wire.counts().since(&before);
    assert_eq!((all.commits, all.requests(Api::END_TXN)), (2, 4));
    assert_eq!(all.since(&all), super::super::Counts::default());
    let never = |counts: &super::super::Counts| counts.aborts > 1;
    assert!(stage.wire.wait("a.", "more", DELAY, never).is_err());
}

#[test]
fn a_client_is_refused_in_its_turn() {
    let stage = Stage::new(0);
    let mut client = stage.client();
    // The answer before it is held: so the refusal waits.
    let held = stage
        .wire
        .trap(Trap::new(Api::METADATA, "client", Action::HoldReply));
    let trapped = stage.wire.trap(Trap::new(Api::END_TXN, "id", Action::Answer(90)));
    client.send(&[other(1, b"before"), end_txn(2, "id", true), other(3, b"behind")].concat());
    let (before, caught) = (held.wait(LIMIT).unwrap(), trapped.wait(LIMIT).unwrap());
    assert!(client.is_silent());
    before.release().unwrap();
    assert_eq!(client.receive(), answer(&other(1, b"before"), 0));
    assert_eq!(client.receive(), answer(&end_txn(2, "id", true), 90));
    assert_eq!(client.receive(), answer(&other(3, b"behind"), 0));
    assert_eq!(caught.wait_reply(LIMIT).unwrap(), 90);
    assert_eq!(stage.node.got(), [other(1, b"before"), other(3, b"behind")]);
    let counts = stage.wire.counts_of("id");
    assert_eq!((counts.commits, counts.code(Api::END_TXN, 90)), (0, 1));
    assert_eq!((counts.committed, counts.undecoded), (0, 0));
}
