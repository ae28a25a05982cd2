//! Disks that are full, and files that are gone or spoilt.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use strait_tests::chaos::{Load, NotRun, Run, Scenario, Selection, Violation};
use strait_tests::cluster::{Cluster, Kind};
use strait_tests::tmpfs::Tmpfs;
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 19,
        name: "disk_of_a_node_full",
        expects: "the others go on without it; it comes back once there is room",
        selection: Selection::Long,
        sabotage: None,
        run: node_disk_full,
    },
    Scenario {
        number: 20,
        name: "disk_of_the_process_full",
        expects: "what runs goes on; what starts says what is wrong, or runs; nothing is committed that was not done",
        selection: Selection::Long,
        sabotage: None,
        run: own_disk_full,
    },
    Scenario {
        number: 27,
        name: "bytes_spoilt_on_a_node",
        expects: "nothing passes that its checksum belies, and nothing is skipped: the partition waits, the others go on",
        selection: Selection::Long,
        sabotage: None,
        run: bytes_spoilt,
    },
    Scenario {
        number: 32,
        name: "local_files_deleted_and_spoilt",
        expects: "identity and compiled modules are made anew; the account is the same",
        selection: Selection::Long,
        sabotage: None,
        run: local_files,
    },
];

const BACK_WITHIN: Duration = Duration::from_mins(1);

fn mount(path: &Path, size_mib: u32) -> Result<Tmpfs> {
    Tmpfs::mount(path, size_mib).map_err(|error| {
        NotRun(format!(
            "no small disk, which takes the right to mount: {error:#}"
        ))
        .into()
    })
}

fn node_disk_full(run: &mut Run) -> Result<()> {
    const NODE: usize = 1;
    let folder = tempfile::Builder::new().prefix("strait-test-").tempdir()?;
    let disk = mount(&folder.path().join("node-2").join("data"), 512)?;
    let cluster = Arc::new(Cluster::start(Kind {
        nodes: 3,
        proxies: true,
        data: Some(folder.path().to_owned()),
        ..Kind::default()
    })?);
    let mut load = Load::of(run, Arc::clone(&cluster))?;
    load.begin_with(2)?;
    let taken = disk.fill()?;
    let log = cluster.broker().log_path(NODE)?;
    let complaint = || -> Result<Option<String>> {
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        Ok(text
            .lines()
            .find(|line| line.contains("No space left on device"))
            .map(|line| line.chars().take(160).collect()))
    };
    let complaint = wait::until("the node runs out of disk", BACK_WITHIN, complaint)?;
    run.fault(
        format!("the disk of node {NODE} full: {taken} bytes taken"),
        format!("its log says: {complaint}"),
    );
    let mark = load.mark()?;
    load.await_progress(run, &mark, BACK_WITHIN)?;
    cluster.broker().kill(NODE)?;
    disk.free()?;
    cluster.broker().start_node(NODE)?;
    cluster.wait_whole()?;
    load.wait_moving(BACK_WITHIN)?;
    load.settle(run)
}

fn own_disk_full(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    let folder = load.fixture.path("disk");
    let disk = mount(&folder, 64)?;
    let on_disk = |load: &Load| -> Result<_> {
        let mut command = load.command()?;
        command
            .env("STRAIT_DATA_DIR", folder.join("data"))
            .env("STRAIT_CACHE_DIR", folder.join("cache"));
        Ok(command)
    };
    load.feed()?;
    let command = on_disk(&load)?;
    load.start_command(command)?;
    load.process(0)?.wait_ready()?;
    load.wait_moving(BACK_WITHIN)?;
    let taken = disk.fill()?;
    ensure!(
        fs::write(folder.join("more"), [0; 4096]).is_err(),
        "there is room left"
    );
    let mark = load.mark()?;
    load.await_progress(run, &mark, BACK_WITHIN)?;
    run.fault(
        format!("its disk full while it runs: {taken} bytes taken"),
        "another process cannot write 4 KiB there",
    );
    // Killed and started again on the full disk: it runs, or ends with a reason.
    load.process(0)?.kill()?;
    fs::remove_dir_all(folder.join("cache"))?;
    let taken = disk.fill()?;
    let command = on_disk(&load)?;
    load.restart_as(0, command)?;
    let mark = load.mark()?;
    let moved = mark.passed(&load.fixture, Duration::from_secs(20)).is_ok();
    if !moved {
        let code = load.process(0)?.wait_exit(Duration::from_secs(1))?;
        let log = load.process(0)?.log();
        ensure!(
            code != 0 && log.contains("No space left"),
            "it ended with {code}: {log}"
        );
    }
    let way = if moved { "runs" } else { "ends with the reason" };
    run.fault(
        format!("started on a full disk, {taken} bytes taken"),
        format!("the process {way}; its disk has no room"),
    );
    disk.free()?;
    if !moved {
        let command = on_disk(&load)?;
        load.restart_as(0, command)?;
    }
    load.await_progress(run, &mark.from_now(), BACK_WITHIN)?;
    load.settle(run)
}

fn local_files(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    load.leave_names();
    let (data, cache) = (load.fixture.path("own-data"), load.fixture.path("own-cache"));
    let own = |load: &Load| -> Result<_> {
        let mut command = load.command()?;
        command
            .env("STRAIT_DATA_DIR", &data)
            .env("STRAIT_CACHE_DIR", &cache);
        Ok(command)
    };
    load.feed()?;
    let command = own(&load)?;
    load.start_command(command)?;
    load.process(0)?.wait_ready()?;
    load.wait_moving(BACK_WITHIN)?;
    for what in ["data deleted", "cache flipped", "cache halved", "data halved"] {
        load.process(0)?.kill()?;
        let files = match what {
            "data deleted" => count_and_delete(&data)?,
            "cache flipped" => spoil(run, &cache, Spoil::Flip)?,
            "cache halved" => spoil(run, &cache, Spoil::Halve)?,
            _ => spoil(run, &data, Spoil::Halve)?,
        };
        run.fault(what, format!("{files} files changed while no process ran"));
        let mark = load.mark()?;
        let command = own(&load)?;
        load.restart_as(0, command)?;
        if what == "data halved" {
            // Who it is must not be guessed: it ends, and says what to do.
            let code = load.process(0)?.wait_exit(BACK_WITHIN)?;
            let log = load.process(0)?.log();
            ensure!(
                code == 1 && log.contains("delete the file"),
                "it ended with {code}: {log}"
            );
            count_and_delete(&data)?;
            let command = own(&load)?;
            load.restart_as(0, command)?;
        }
        load.await_progress(run, &mark.from_now(), BACK_WITHIN)?;
    }
    load.settle(run)
}

/// So long it must not move.
const STANDSTILL: Duration = Duration::from_secs(10);
const SPOILT: i32 = 0;

fn bytes_spoilt(run: &mut Run) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("strait-test-").tempdir()?;
    // One node: its log is the only one there is.
    let cluster = Arc::new(Cluster::start(Kind {
        nodes: 1,
        proxies: true,
        data: Some(folder.path().to_owned()),
        ..Kind::default()
    })?);
    let mut load = Load::of(run, Arc::clone(&cluster))?;
    load.begin_with(1)?;
    load.process(0)?.kill()?;
    let before = load.mark()?.committed;
    let topic = load.fixture.topic("in");
    let verifier = load.fixture.verifier().clone();
    wait::until_true("input that nobody has read", BACK_WITHIN, || {
        let ends = verifier.ends(&topic)?;
        Ok(ends
            .iter()
            .all(|ends| before.get(&ends.partition) < Some(&(ends.high - 100))))
    })?;
    load.stop_input()?;
    let segment = find(folder.path(), &format!("{topic}-{SPOILT}"))?
        .context("the folder of the partition")?
        .join("00000000000000000000.log");
    let flip = || -> Result<()> {
        cluster.broker().stop(0)?;
        let mut bytes = fs::read(&segment)?;
        // In the last record, behind the checksum of its batch.
        *bytes.iter_mut().nth_back(2).context("a byte")? ^= 0x55;
        fs::write(&segment, bytes)?;
        cluster.broker().start_node(0)?;
        cluster.wait_whole()
    };
    flip()?;
    let Err(refusal) = load.fixture.read("in") else {
        return run.not_run("the judge finds nothing wrong with the spoilt records");
    };
    run.fault(
        "a byte is spoilt in the log of the only node",
        format!("the judge cannot read it: {}", refusal.root_cause()),
    );
    load.restart(0)?;
    let ends = verifier.ends(&topic)?;
    let is_done = |partition: i32| -> Result<bool> {
        let committed = load.mark()?.committed.get(&partition).copied();
        Ok(ends
            .iter()
            .any(|ends| ends.partition == partition && Some(ends.high) == committed))
    };
    wait::until_true("the end of the other partitions", BACK_WITHIN, || {
        for ends in ends.iter().filter(|ends| ends.partition != SPOILT) {
            ensure!(is_done(ends.partition)?, "{} is not done", ends.partition);
        }
        Ok(true)
    })?;
    std::thread::sleep(STANDSTILL);
    if is_done(SPOILT)? {
        let skipped =
            format!("{topic} [{SPOILT}] is committed to its end, beyond records that nobody can read");
        return Err(Violation(skipped).into());
    }
    flip()?;
    let mended = Instant::now();
    load.wait_worked_off()?;
    run.progressed(mended.elapsed());
    load.settle(run)
}

/// The folder of that name, somewhere within another one.
fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.file_name().is_some_and(|own| own == name) {
            return Ok(Some(path));
        }
        if let Some(found) = find(&path, name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn count_and_delete(folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files += count_and_delete(&path)?;
        } else {
            fs::remove_file(&path)?;
            files += 1;
        }
    }
    Ok(files)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoil {
    Flip,
    Halve,
}

/// Spoils every file in a folder; gives how many those are.
fn spoil(run: &mut Run, folder: &Path, how: Spoil) -> Result<usize> {
    let mut spoilt = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            spoilt += spoil(run, &path, how)?;
            continue;
        }
        let mut bytes = fs::read(&path)?;
        if bytes.is_empty() {
            continue;
        }
        let at = run.random.random_range(0..bytes.len());
        match how {
            Spoil::Halve => bytes.truncate(bytes.len() / 2),
            Spoil::Flip => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 0x55;
                }
            }
        }
        fs::write(&path, bytes)?;
        spoilt += 1;
    }
    Ok(spoilt)
}
