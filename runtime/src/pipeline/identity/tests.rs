use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, thread};

use super::*;

/// Tells the child of a test which data folder to use.
const CHILD_FOLDER: &str = "STRAIT_IDENTITY_TEST_FOLDER";

fn name(name: &str) -> PipelineName {
    PipelineName::new(name).unwrap()
}

fn slot(identity: &Identity) -> &str {
    identity.instance().rsplit_once('-').unwrap().1
}

fn claim(folder: &tempfile::TempDir) -> Identity {
    Identity::claim(folder.path(), None, &[name("orders")]).unwrap()
}

#[test]
fn the_lowest_free_slot_is_taken_and_free_again_once_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, third) = (claim(&folder), claim(&folder), claim(&folder));
    assert_eq!([slot(&first), slot(&second), slot(&third)], ["0", "1", "2"]);
    drop(second);
    let again = claim(&folder);
    assert_eq!(slot(&again), "1");
    assert_eq!(slot(&claim(&folder)), "3");
}

#[test]
fn the_machine_id_outlives_the_process_and_differs_between_machines() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = claim(&here).instance().to_owned();
    assert_eq!(claim(&here).instance(), first);
    assert_ne!(claim(&there).instance(), first);
}

#[test]
fn processes_that_start_at_once_share_the_machine_id_and_no_slot() {
    let folder = tempfile::tempdir().unwrap();
    let identities: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..16).map(|_| scope.spawn(|| claim(&folder))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let machines: BTreeSet<_> = identities
        .iter()
        .map(|identity| identity.instance().rsplit_once('-').unwrap().0)
        .collect();
    let slots: BTreeSet<_> = identities.iter().map(slot).collect();
    assert_eq!((machines.len(), slots.len()), (1, 16));
}

#[test]
fn a_damaged_machine_id_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine-id");
    for damaged in ["", "not hexadecimal", "0123456789abcdef0"] {
        fs::write(&path, damaged).unwrap();
        let refusal = Identity::claim(folder.path(), None, &[]).unwrap_err().to_string();
        assert!(
            refusal.contains("machine-id") && refusal.contains("delete"),
            "{refusal}"
        );
    }
}

/// Runs as another process; started by the tests below.
#[test]
#[ignore = "holds a slot until its standard input ends; other tests start it"]
fn child_that_holds_a_slot() {
    let Ok(folder) = env::var(CHILD_FOLDER) else {
        return;
    };
    let identity = Identity::claim(Path::new(&folder), None, &[]).unwrap();
    let mut stdout = io::stdout();
    writeln!(stdout, "\ninstance={}", identity.instance()).unwrap();
    stdout.flush().unwrap();
    io::stdin().read_line(&mut String::new()).unwrap();
}

/// A process that holds a slot, and its instance.
fn hold_in_a_child(folder: &Path) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "pipeline::identity::tests::child_that_holds_a_slot",
        ])
        .env(CHILD_FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some(instance) = line.trim_end().strip_prefix("instance=") {
            let instance = instance.to_owned();
            return (child, lines, instance);
        }
        line.clear();
    }
    panic!("the child ended without a slot: {:?}", child.wait());
}

#[test]
fn two_processes_take_different_slots_and_a_kill_frees_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, _lines, held) = hold_in_a_child(folder.path());
    assert!(held.ends_with("-0"), "{held}");
    let mine = claim(&folder);
    assert_eq!(slot(&mine), "1");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(claim(&folder).instance(), held);
}

#[test]
fn a_given_instance_is_used_as_it_is_and_once_per_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let given = |pipeline| Identity::claim(folder.path(), Some("pod-7"), &[name(pipeline)]);
    let first = given("orders").unwrap();
    assert_eq!(first.transactional_id(&name("orders"), 3), "orders.pod-7.3");
    let refusal = given("orders").unwrap_err();
    assert!(
        matches!(refusal, IdentityError::InstanceInUse { .. }),
        "{refusal}"
    );
    assert!(refusal.to_string().contains("--instance"), "{refusal}");
    let _other_pipeline = given("payments").unwrap();
    drop(first);
    given("orders").unwrap();
}

#[test]
fn an_instance_that_could_be_read_two_ways_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for bad in ["", "a.b", "../up", "a b", "ä", &"x".repeat(65)] {
        let refusal = Identity::claim(folder.path(), Some(bad), &[name("orders")]).unwrap_err();
        assert!(
            matches!(refusal, IdentityError::InvalidInstance(_)),
            "{bad:?}: {refusal}"
        );
    }
}

/// The ids of these lanes, by pipeline.
fn ids(identity: &Identity, lanes: &[(&str, usize)]) -> Vec<String> {
    let of = |(pipeline, lanes): &(&str, usize)| {
        let pipeline = name(pipeline);
        (0..*lanes)
            .map(move |lane| identity.transactional_id(&pipeline, lane))
            .collect::<Vec<_>>()
    };
    lanes.iter().flat_map(of).collect()
}

fn stale(identity: &Identity, in_use: &[String]) -> Vec<String> {
    identity
        .stale_ids(in_use)
        .unwrap()
        .into_iter()
        .map(|stale| stale.transactional_id)
        .collect()
}

#[test]
fn ids_of_lanes_and_pipelines_that_are_gone_are_stale_until_recorded_anew() {
    let folder = tempfile::tempdir().unwrap();
    let before = claim(&folder);
    let used = ids(&before, &[("a.b", 3), ("gone", 1)]);
    assert_eq!(
        stale(&before, &used),
        Vec::<String>::new(),
        "nothing is recorded yet"
    );
    before.record(&used).unwrap();
    drop(before);

    let after = claim(&folder);
    let in_use = ids(&after, &[("a.b", 2), ("new", 1)]);
    let expected = [
        after.transactional_id(&name("a.b"), 2),
        after.transactional_id(&name("gone"), 0),
    ];
    assert_eq!(stale(&after, &in_use), expected);
    assert_eq!(after.stale_ids(&in_use).unwrap()[0].pipeline, name("a.b"));
    assert_eq!(
        stale(&after, &in_use),
        expected,
        "asking does not forget: a crash may follow"
    );
    after.record(&in_use).unwrap();
    assert_eq!(stale(&after, &in_use), Vec::<String>::new());
}

#[test]
fn a_given_instance_keeps_each_pipelines_ids_apart() {
    let folder = tempfile::tempdir().unwrap();
    let both = Identity::claim(folder.path(), Some("pod"), &[name("a"), name("b")]).unwrap();
    both.record(&ids(&both, &[("a", 2), ("b", 2)])).unwrap();
    drop(both);
    let one = Identity::claim(folder.path(), Some("pod"), &[name("a")]).unwrap();
    let in_use = ids(&one, &[("a", 1)]);
    assert_eq!(stale(&one, &in_use), ["a.pod.1"]);
    one.record(&in_use).unwrap();
    drop(one);
    let other = Identity::claim(folder.path(), Some("pod"), &[name("b")]).unwrap();
    assert_eq!(stale(&other, &[]), ["b.pod.0", "b.pod.1"]);
}

#[test]
fn an_id_of_another_instance_is_never_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let identity = claim(&folder);
    let recorded = format!(
        "orders.other-0.1\nnonsense\n{}\n",
        identity.transactional_id(&name("orders"), 1)
    );
    fs::write(folder.path().join("slots/0.ids"), recorded).unwrap();
    assert_eq!(
        stale(&identity, &[]),
        [identity.transactional_id(&name("orders"), 1)]
    );
}

#[test]
fn no_temporary_file_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    let identity = claim(&folder);
    identity.record(&ids(&identity, &[("a", 1)])).unwrap();
    let mut files: Vec<_> = fs::read_dir(folder.path().join("slots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["0.ids", "0.lock"]);
    assert!(identity.record(&vec![String::new(); IDS_MAX + 1]).is_err());
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_the_way_out() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refusal = Identity::claim(file.path(), None, &[]).unwrap_err().to_string();
    assert!(
        refusal.contains(file.path().to_str().unwrap()) && refusal.contains("--data-dir"),
        "{refusal}"
    );
}
