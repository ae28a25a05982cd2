//! A network that holds, delays, cuts, and delivers late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::Rng as _;
use strait_tests::chaos::load::PROGRESS_WITHIN;
use strait_tests::chaos::role::Role;
use strait_tests::chaos::strike::OF_A_TRANSACTION;
use strait_tests::chaos::{Load, Run, Scenario, Selection};
use strait_tests::proxy::{Action, Api, Counts, Flow, Proxy, Trap};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 8,
        name: "nodes_isolated_by_role",
        expects: "no request reaches the node for 15 s; progress within 60 s, whichever part it had",
        selection: Selection::Long,
        sabotage: None,
        run: isolated_by_role,
    },
    Scenario {
        number: 11,
        name: "replies_cut",
        expects: "the outcome is looked up, and the producer replaced before it begins again",
        selection: Selection::Long,
        sabotage: None,
        run: replies_cut,
    },
    Scenario {
        number: 11,
        name: "replies_delayed",
        expects: "longer than a request may take: as replies_cut",
        selection: Selection::Long,
        sabotage: None,
        run: replies_delayed,
    },
    Scenario {
        number: 12,
        name: "cut_off_for_5_s",
        expects: "requests are tried again",
        selection: Selection::Long,
        sabotage: None,
        run: cut_off_briefly,
    },
    Scenario {
        number: 12,
        name: "cut_off_for_70_s",
        expects: "the coordinator gives the transaction up; producers are replaced",
        selection: Selection::Long,
        sabotage: None,
        run: cut_off_for_long,
    },
    Scenario {
        number: 12,
        name: "cut_off_one_way",
        expects: "what was sent takes effect though its sender never learns of it, and the other way round",
        selection: Selection::Long,
        sabotage: None,
        run: one_way,
    },
    Scenario {
        number: 12,
        name: "connections_cut_again_and_again",
        expects: "all connections reset every 2 s for 20 s, new ones refused at times: progress within 60 s of the end",
        selection: Selection::Long,
        sabotage: None,
        run: cut_again_and_again,
    },
    Scenario {
        number: 12,
        name: "slow_and_lossy",
        expects: "200 ms each way and 5 % lost: slower, and right",
        selection: Selection::Long,
        sabotage: None,
        run: slow_and_lossy,
    },
];

fn isolated_by_role(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    for role in Role::ALL {
        let node = role.node(&load.fixture)?;
        cluster.proxy(node)?.isolate();
        std::thread::sleep(Duration::from_secs(15));
        let held = cluster.proxy(node)?.held_bytes();
        cluster.proxy(node)?.heal();
        let healed = Instant::now();
        if held == 0 {
            return run.not_run(format!(
                "nothing was on its way to or from node {node}, the {role}"
            ));
        }
        run.fault(
            format!("node {node}, the {role}, cut off from the processes for 15 s"),
            format!("its proxy held {held} bytes"),
        );
        load.await_back(run, healed, PROGRESS_WITHIN)?;
        load.wait_moving(PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

fn replies_cut(run: &mut Run) -> Result<()> {
    doubtful(run, 2, Action::CutBeforeReply)
}

fn replies_delayed(run: &mut Run) -> Result<()> {
    doubtful(run, 1, Action::DelayReply(Duration::from_secs(12)))
}

/// Each kind of request of a transaction reaches its node, and its sender does not hear in time what came of it.
fn doubtful(run: &mut Run, times: usize, action: Action) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    let prefix = load.fixture.ids();
    let wire = Arc::clone(run.cluster().wire());
    for api in OF_A_TRANSACTION {
        for _ in 0..times {
            let skip = run.random.random_range(0..10);
            let caught = wire
                .trap(Trap::new(api, &prefix, action).skip(skip))
                .wait(PROGRESS_WITHIN)?;
            let owner = &caught.request().owner;
            let before = wire.counts_of(owner);
            let code = caught.wait_reply(PROGRESS_WITHIN)?;
            load.await_back(run, Instant::now(), PROGRESS_WITHIN)?;
            let replaced = |counts: &Counts| counts.since(&before).code(Api::INIT_PRODUCER_ID, 0) > 0;
            wire.wait(owner, "a producer with a new epoch", PROGRESS_WITHIN, replaced)?;
            run.fault(
                format!("{api}: {action:?}"),
                format!("the node answered {code}; {owner} got a new epoch afterwards"),
            );
        }
    }
    // What a restart reads is what was really committed.
    load.process(0)?.kill()?;
    load.restart(0)?;
    load.settle(run)
}

fn cut_off_briefly(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 2)?;
    for _ in 0..2 {
        cut_off(run, &load, Duration::from_secs(5))?;
    }
    load.settle(run)
}

/// Longer than any transaction may take.
fn cut_off_for_long(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    let ids = load.fixture.ids();
    let before = cluster.wire().counts_of(&ids);
    let open = load.fixture.wait_open_transaction()?;
    cut_off(run, &load, Duration::from_secs(70))?;
    let timed_out = cluster.logged(&[&ids, "due to timeout"])?;
    let Some(line) = timed_out.first() else {
        return run.not_run(format!(
            "{open} was Ongoing, but the coordinator has ended nothing"
        ));
    };
    let since = cluster.wire().counts_of(&ids).since(&before);
    let inits = since.code(Api::INIT_PRODUCER_ID, 0);
    ensure!(inits > 0, "no producer was replaced");
    run.fault(
        "and so for longer than a transaction may take",
        format!("the coordinator: {line}; {inits} producers got a new epoch afterwards"),
    );
    load.settle(run)
}

fn cut_off(run: &mut Run, load: &Load, time: Duration) -> Result<()> {
    let cluster = Arc::clone(run.cluster());
    let mark = load.mark()?;
    cluster.proxies().iter().for_each(Proxy::isolate);
    std::thread::sleep(time);
    let held: usize = cluster.proxies().iter().map(Proxy::held_bytes).sum();
    let during = load.mark()?;
    cluster.proxies().iter().for_each(Proxy::heal);
    ensure!(held > 0, "the proxies held nothing");
    run.fault(
        format!("all processes cut off from all nodes for {} s", time.as_secs()),
        format!(
            "the proxies held {held} bytes; offsets went from {:?} to {:?}",
            mark.committed, during.committed
        ),
    );
    load.await_progress(run, &during.from_now(), PROGRESS_WITHIN)
}

fn one_way(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    for way in ["replies", "requests"] {
        for proxy in cluster.proxies() {
            match way {
                "replies" => proxy.replies(Flow::Hold),
                _ => proxy.requests(Flow::Hold),
            }
        }
        // Longer than a request may take.
        std::thread::sleep(Duration::from_secs(15));
        let held: usize = cluster.proxies().iter().map(Proxy::held_bytes).sum();
        cluster.proxies().iter().for_each(Proxy::heal);
        let healed = Instant::now();
        ensure!(held > 0, "the proxies held nothing");
        run.fault(
            format!("all {way} held for 15 s"),
            format!("the proxies held {held} bytes"),
        );
        load.await_back(run, healed, PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

const CUTS: u32 = 10;
const CUT_EVERY: Duration = Duration::from_secs(2);
/// Longer than a client waits before it connects again.
const REFUSED_FOR: Duration = Duration::from_millis(500);

fn cut_again_and_again(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    let count = |of: fn(&Proxy) -> u64| cluster.proxies().iter().map(of).sum::<u64>();
    let before = (count(Proxy::cuts), count(Proxy::refused));
    for turn in 0..CUTS {
        let struck = Instant::now();
        if turn % 2 == 0 {
            cluster.proxies().iter().for_each(Proxy::cut);
        } else {
            cluster.proxies().iter().for_each(Proxy::refuse);
            std::thread::sleep(REFUSED_FOR);
            cluster.proxies().iter().for_each(Proxy::heal);
        }
        std::thread::sleep(CUT_EVERY.saturating_sub(struck.elapsed()));
    }
    let ended = Instant::now();
    let (cuts, refused) = (count(Proxy::cuts) - before.0, count(Proxy::refused) - before.1);
    if cuts < u64::from(CUTS) || refused == 0 {
        return run.not_run(format!("only {cuts} connections were cut, and {refused} refused"));
    }
    load.await_back(run, ended, PROGRESS_WITHIN)?;
    let present: usize = cluster.proxies().iter().map(Proxy::connections).sum();
    run.fault(
        format!("all connections cut {CUTS} times, every other time refused for a moment"),
        format!("the proxies reset {cuts} and refused {refused}; {present} stand afterwards"),
    );
    load.settle(run)
}

fn slow_and_lossy(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    let slow = Flow::Lossy {
        delay: Duration::from_millis(200),
        chance: 0.05,
        stall: Duration::from_millis(800),
    };
    for proxy in cluster.proxies() {
        proxy.requests(slow);
        proxy.replies(slow);
    }
    let until = Instant::now() + Duration::from_secs(40);
    while Instant::now() < until {
        let mark = load.mark()?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    }
    let stalls: u64 = cluster.proxies().iter().map(Proxy::stalls).sum();
    cluster.proxies().iter().for_each(Proxy::heal);
    ensure!(stalls > 0, "nothing was lost");
    run.fault(
        "200 ms each way, 5 % of all chunks lost, for 40 s",
        format!("{stalls} chunks came late"),
    );
    load.settle(run)
}
