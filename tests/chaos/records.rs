//! Records that are hard to swallow: too large, too many, odd, and a third of them aborted.
//! Processes die meanwhile, in the middle of a transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::json;
use strait_tests::chaos::load::{PARTITIONS, PROGRESS_WITHIN};
use strait_tests::chaos::strike::kill_often;
use strait_tests::chaos::{Load, Run, Scenario, Selection, Violation};
use strait_tests::orders::order;
use strait_tests::produce::{Input, Message};
use strait_tests::stream::{Due, Stream};
use strait_tests::verifier::{Isolation, Row};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 25,
        name: "output_too_large",
        expects: "found by the client or refused by the broker, one dead letter each; no endless aborts",
        selection: Selection::Long,
        sabotage: None,
        run: too_large,
    },
    Scenario {
        number: 26,
        name: "transaction_larger_than_the_queue",
        expects: "the lane waits for room, and aborts nothing for the lack of it",
        selection: Selection::Long,
        sabotage: None,
        run: larger_than_the_queue,
    },
    Scenario {
        number: 27,
        name: "odd_records",
        expects: "tombstones, null keys, empty keys and values, 10,000 headers pass byte for byte",
        selection: Selection::Long,
        sabotage: None,
        run: odd,
    },
    Scenario {
        number: 28,
        name: "transactional_input",
        expects: "what was aborted in the input is never seen; the committed offsets pass control records",
        selection: Selection::Short,
        sabotage: None,
        run: transactional_input,
    },
    Scenario {
        number: 29,
        name: "timestamps_that_nodes_refuse",
        expects: "one dead letter each, which says why; all others pass; no endless aborts",
        selection: Selection::Long,
        sabotage: None,
        run: refused_timestamps,
    },
];

/// What the output takes at first, and later.
const LIMITS: [usize; 2] = [25_000, 20_000];

const LARGE: Stream = Stream {
    guest: "hostile",
    make: |partition, number| sized(partition, number, 15_000),
    per_second: 200,
    topics: &["out", "dlq"],
    fate: |row| match row.value_text().as_str() {
        "big:30000" | "big:22000" => vec![Due::Letter],
        _ => vec![Due::only("out")],
    },
};

fn sized(partition: i32, number: u64, every_now_and_then: u32) -> Message {
    let value = match number % 201 {
        5 => "big:30000".to_owned(),
        100 => format!("big:{every_now_and_then}"),
        _ => "pass".to_owned(),
    };
    Message::new(format!("{partition}-{number}"), value)
}

fn too_large(run: &mut Run) -> Result<()> {
    let mut load = run.load_of(LARGE)?;
    let out = load.fixture.topic("out");
    let limit = |load: &Load, bytes: usize| -> Result<String> {
        let verifier = load.fixture.verifier();
        verifier.configure_topic(&out, &[&format!("max.message.bytes={bytes}")])?;
        // Key and value.
        let key = vec![b'k'; bytes / 2 + 500];
        match verifier.partitions_by_java(&out, &[key]) {
            Ok(_) => bail!("{out} takes more than {bytes} bytes"),
            Err(refusal) => Ok(refusal.root_cause().to_string()),
        }
    };
    let refused = limit(&load, LIMITS[0])?;
    run.fault(
        "outputs that are too large for their topic",
        format!("the judge's own: {refused}"),
    );
    load.begin_with(1)?;
    kill_often(run, &mut load, 2)?;
    load.stop_input()?;
    load.wait_worked_off()?;
    // The running process knows of the first limit only.
    let refused = limit(&load, LIMITS[1])?;
    run.fault(
        "outputs that only the broker finds too large",
        format!("the judge's own: {refused}"),
    );
    load.make_by(|partition, number| sized(partition, number, 22_000));
    let mark = load.mark()?;
    load.feed_at(LARGE.per_second)?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    thread::sleep(Duration::from_secs(4));
    load.stop_input()?;
    load.wait_worked_off()?;
    load.feed_at(LARGE.per_second)?;
    kill_often(run, &mut load, 2)?;
    load.settle(run)
}

/// Records in the producer's queue at most; one input record makes three times as many.
const QUEUE: u32 = 500;
const MANY: u32 = 1500;

const FANNING: Stream = Stream {
    guest: "hostile",
    make: |partition, number| {
        let value = if number % 101 == 50 { "many:1500" } else { "pass" };
        Message::new(format!("{partition}-{number}"), value)
    },
    per_second: 60,
    topics: &["out"],
    fate: |row| {
        let parts = if row.value_text() == "many:1500" { MANY } else { 1 };
        (1..=parts)
            .map(|part| Due::Output {
                topic: "out",
                part,
                parts,
            })
            .collect()
    },
};

fn larger_than_the_queue(run: &mut Run) -> Result<()> {
    let mut load = run.load_of(FANNING)?;
    load.set_lanes(1)?;
    load.fixture
        .set("kafka.producer", json!({ "queue.buffering.max.messages": QUEUE }))?;
    load.fixture.set("commit.interval", json!("1s"))?;
    load.begin_with(1)?;
    let mark = load.mark()?;
    thread::sleep(Duration::from_secs(5));
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    load.stop_input()?;
    load.wait_worked_off()?;
    let out = load.fixture.topic("out");
    let all = load.fixture.verifier().read(&out, Isolation::ReadUncommitted)?;
    let committed = load.fixture.read("out")?;
    if all.len() != committed.len() {
        return Err(Violation(format!("{} records were aborted", all.len() - committed.len())).into());
    }
    let fans = committed
        .iter()
        .filter(|row| row.value_text() == "many:1500")
        .count();
    ensure!(fans >= 2 * usize::try_from(MANY)?, "{fans} records are too few");
    run.fault(
        format!("transactions of more than {QUEUE} records, with a queue of so many"),
        format!("the judge reads {fans} records, {MANY} of each input record, and not one that was aborted"),
    );
    load.feed_at(FANNING.per_second)?;
    kill_often(run, &mut load, 3)?;
    load.settle(run)
}

const ODD: Stream = Stream {
    guest: "identity",
    make: odd_record,
    per_second: 200,
    topics: &["out"],
    fate: |_| vec![Due::only("out")],
};

const HEADERS: usize = 10_000;

fn odd_record(partition: i32, number: u64) -> Message {
    let key = format!("{partition}-{number}");
    let plain = Message::new(key.clone(), "value");
    match number % 13 {
        1 => Message { value: None, ..plain },
        2 => Message { key: None, ..plain },
        3 => Message::default(),
        4 => Message::new(key, ""),
        5 => Message::new("", "empty key"),
        6 => Message::new(vec![0, 255, 128], vec![0, 159, 146, 150]),
        7 => Message::new(key, "{\"id\": "),
        8 if number.is_multiple_of(40) => (0..HEADERS).fold(plain, |message, n| {
            // Some names twice, some values null, some empty.
            let value: Option<&[u8]> = [None, Some(b"".as_slice()), Some(&[0, 159, 255])]
                .get(n % 3)
                .copied()
                .flatten();
            message.with_header(&format!("h-{}", n / 2), value)
        }),
        9 if number.is_multiple_of(40) => Message::new(key, vec![b'm'; 900_000]),
        _ => plain,
    }
}

fn odd(run: &mut Run) -> Result<()> {
    let mut load = run.load_of(ODD)?;
    load.begin_with(1)?;
    kill_often(run, &mut load, 3)?;
    load.stop_input()?;
    let input = load.fixture.read("in")?;
    let count = |of: fn(&Row) -> bool| input.iter().filter(|row| of(row)).count();
    let counts = [
        count(|row| row.value.is_none()),
        count(|row| row.key.is_none()),
        count(|row| row.value.as_ref().is_some_and(Vec::is_empty)),
        count(|row| row.key.as_ref().is_some_and(Vec::is_empty)),
        count(|row| row.key.is_none() && row.value.is_none()),
        count(|row| row.headers.len() >= HEADERS),
        count(|row| row.value.as_ref().is_some_and(|value| value.len() > 500_000)),
    ];
    ensure!(counts.iter().all(|count| *count > 1), "{counts:?}");
    let [tombstones, keyless, empty, empty_keys, bare, headers, large] = counts;
    run.fault(
        "odd records",
        format!(
            "the judge reads {tombstones} tombstones, {keyless} without a key, {empty} empty values, {empty_keys} empty \
             keys, {bare} with neither key nor value, {headers} with {HEADERS} headers, {large} of almost a megabyte"
        ),
    );
    load.settle_and(run, |load| {
        let rows = load.fixture.read("out")?;
        same_content(&input, &rows)
    })
}

fn same_content(input: &[Row], output: &[Row]) -> Result<()> {
    let by_place: HashMap<(String, String), &Row> = input
        .iter()
        .map(|row| ((row.partition.to_string(), row.offset.to_string()), row))
        .collect();
    for row in output {
        let source = row.header("strait-source").context("a source")?;
        let mut place = source.split('/').skip(3).map(str::to_owned);
        let place = (place.next().unwrap_or_default(), place.next().unwrap_or_default());
        let original = by_place
            .get(&place)
            .with_context(|| format!("no input record at {place:?}"))?;
        let mut headers = row.headers.clone();
        headers.retain(|(name, _)| name != "strait-source");
        let same = row.key == original.key
            && row.value == original.value
            && headers == original.headers
            && row.timestamp_ms == original.timestamp_ms;
        if !same {
            return Err(Violation(format!("the record of {place:?} was changed")).into());
        }
    }
    Ok(())
}

/// In the year 2100. Nodes refuse what is more than an hour ahead, unless told otherwise.
const FAR_AHEAD_MS: i64 = 4_102_444_800_000;

const DATED: Stream = Stream {
    guest: "identity",
    make: |partition, number| Message {
        timestamp_ms: (number % 997 == 30).then_some(FAR_AHEAD_MS),
        ..Message::new(format!("{partition}-{number}"), "value")
    },
    per_second: 200,
    topics: &["out", "dlq"],
    fate: |row| {
        vec![if row.timestamp_ms == FAR_AHEAD_MS {
            Due::Letter
        } else {
            Due::only("out")
        }]
    },
};

fn refused_timestamps(run: &mut Run) -> Result<()> {
    let mut load = run.load_of(DATED)?;
    let verifier = load.fixture.verifier().clone();
    // Only the input takes them, and keeps them.
    let anything = format!("message.timestamp.after.max.ms={}", i64::MAX);
    verifier.configure_topic(&load.fixture.topic("in"), &[&anything, "retention.ms=-1"])?;
    for topic in DATED.topics {
        let topic = load.fixture.topic(topic);
        let Err(refusal) = verifier.send_dated(&topic, FAR_AHEAD_MS) else {
            return run.not_run(format!("{topic} takes records of the year 2100"));
        };
        run.fault(
            "records with a timestamp that outputs do not take",
            format!("the judge's own: {}", refusal.root_cause()),
        );
    }
    load.begin_with(1)?;
    let mark = load.mark()?;
    thread::sleep(Duration::from_secs(5));
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    kill_often(run, &mut load, 2)?;
    load.stop_input()?;
    let far = |row: &&Row| row.timestamp_ms == FAR_AHEAD_MS;
    let count = load.fixture.read("in")?.iter().filter(far).count();
    ensure!(count > 3, "only {count} records are from far away");
    load.settle_and(run, |load| {
        for letter in load.fixture.read("dlq")? {
            let reason = letter.header("strait-error-reason").unwrap_or_default();
            ensure!(
                reason.to_lowercase().contains("timestamp"),
                "a dead letter does not say why: {reason}"
            );
            let original = letter.header("strait-error-timestamp");
            ensure!(
                original == Some(FAR_AHEAD_MS.to_string()),
                "a dead letter says that its record was of {original:?}"
            );
        }
        Ok(())
    })
}

/// Records in transactions, every third of which is aborted.
struct Stretches {
    thread: JoinHandle<Result<u64>>,
    stop: Arc<AtomicBool>,
}

impl Stretches {
    const RECORDS: u64 = 40;

    fn start(load: &Load) -> Result<Self> {
        let id = format!("input-{}", load.fixture.name());
        let input = Input::transactional(load.fixture.bootstrap(), &id)?;
        let topic = load.fixture.topic("in");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut committed = 0;
            for turn in 0.. {
                let is_last = stopped.load(Ordering::Relaxed);
                let partition = |number: u64| i32::try_from(number % 6).unwrap_or(0);
                let messages: Vec<Message> = (turn * Self::RECORDS..(turn + 1) * Self::RECORDS)
                    .map(|number| order(partition(number), number).to_partition(partition(number)))
                    .collect();
                input.begin()?;
                input.send_all(&topic, &messages)?;
                // Nothing but control records comes behind the last one.
                if is_last || turn % 3 == 1 {
                    input.abort()?;
                } else {
                    input.commit()?;
                    committed += Self::RECORDS;
                }
                if is_last {
                    break;
                }
                thread::sleep(Duration::from_millis(60));
            }
            Ok(committed)
        };
        let thread = thread::Builder::new().name("input".into()).spawn(run)?;
        Ok(Self { thread, stop })
    }

    /// Ends with an aborted stretch; gives how many records were committed.
    fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the input thread panicked"))?
    }
}

fn transactional_input(run: &mut Run) -> Result<()> {
    ensure!(PARTITIONS == 6);
    let mut load = run.load()?;
    load.follow()?;
    let stretches = Stretches::start(&load)?;
    load.start()?;
    load.process(0)?.wait_ready()?;
    load.wait_moving(Duration::from_mins(1))?;
    kill_often(run, &mut load, 3)?;
    let committed = stretches.stop()?;
    load.count_sent(committed);
    let topic = load.fixture.topic("in");
    let all = load
        .fixture
        .verifier()
        .read(&topic, Isolation::ReadUncommitted)?
        .len();
    let stable = load.fixture.read("in")?.len();
    ensure!(all > stable, "nothing was aborted");
    run.fault(
        "an input of transactions, with an aborted one at its end",
        format!("of {all} records in it the judge reads {stable} as committed"),
    );
    load.settle(run)
}
