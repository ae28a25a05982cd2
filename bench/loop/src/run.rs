//! The lanes together, and what they cost.

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::lane::{self, Progress};
use crate::usage::usage;
use crate::{Run, load};

const ASK: Duration = Duration::from_secs(10);

pub fn run(run: &Run) -> anyhow::Result<()> {
    let (expected, partitions) = size_of(&run.bootstrap, &run.input)?;
    for output in &run.outputs {
        load::create(&run.bootstrap, output, partitions)?;
    }
    let stamp = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_millis();
    let group = run.group.clone().unwrap_or_else(|| format!("loop-{stamp}"));
    let progress = Progress {
        expected,
        partitions: usize::try_from(partitions)?,
        assigned: (0..run.lanes).map(|_| AtomicUsize::new(0)).collect(),
        ..Progress::default()
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..run.lanes)
            .map(|number| {
                let (group, progress) = (&group, &progress);
                scope.spawn(move || lane::run(run, group, number, progress).inspect_err(give_up))
            })
            .collect();
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().map_err(|_| anyhow!("a lane panicked"))?)
    })?;
    report(&progress)
}

/// The other lanes would wait for the records of this one.
fn give_up(error: &anyhow::Error) {
    #[expect(clippy::print_stderr, reason = "a command says why it ends")]
    {
        eprintln!("{error:#}");
    }
    std::process::exit(1);
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
#[expect(clippy::print_stdout, reason = "the result")]
fn report(progress: &Progress) -> anyhow::Result<()> {
    let end = usage();
    let (first, before) = progress.first.get().context("there were no records")?;
    // Closing the clients is not part of it, but takes hardly any time.
    let seconds = Instant::now().duration_since(*first).as_secs_f64();
    let records = progress.committed.load(std::sync::atomic::Ordering::Relaxed);
    let per_record = |cpu: Duration| cpu.as_secs_f64() * 1e6 / records as f64;
    let figures = serde_json::json!({
        "records": records,
        "seconds": seconds,
        "records_per_second": records as f64 / seconds,
        "cpu_us_per_record": per_record(end.cpu),
        "cpu_us_per_record_active": per_record(end.cpu.saturating_sub(before.cpu)),
        "commits": progress.commits.load(std::sync::atomic::Ordering::Relaxed),
        "rss_mib": end.rss_mib,
    });
    println!("{figures}");
    Ok(())
}

/// Records and partitions of a topic.
fn size_of(bootstrap: &str, topic: &str) -> anyhow::Result<(u64, i32)> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let metadata = client.fetch_metadata(Some(topic), ASK)?;
    let partitions = metadata.topics().first().map_or(0, |t| t.partitions().len());
    let partitions = i32::try_from(partitions)?;
    let mut records = 0;
    for partition in 0..partitions {
        let (low, high) = client.fetch_watermarks(topic, partition, ASK)?;
        records += u64::try_from(high - low)?;
    }
    Ok((records, partitions))
}
