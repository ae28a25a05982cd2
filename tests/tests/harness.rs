//! The judges themselves: what they must see, and must not.

use anyhow::{Result, ensure};
use strait_tests::cluster::Cluster;
use strait_tests::produce::{Input, Message};
use strait_tests::verifier::Isolation;

#[test]
fn the_verifier_reads_what_is_committed_and_sees_what_is_open() -> Result<()> {
    let (cluster, topic) = (Cluster::shared()?, "harness.transactions");
    let verifier = cluster.verifier();
    verifier.create_topic(topic, 1, &[])?;
    let input = Input::transactional(cluster.bootstrap(), "harness.0")?;
    let batch = |key: &str| {
        [Message::new(key, "value")
            .with_header("h", Some(b"x"))
            .with_header("n", None)]
    };

    input.begin()?;
    input.send_all(topic, &batch("committed"))?;
    input.commit()?;
    input.begin()?;
    input.send_all(topic, &batch("aborted"))?;
    input.abort()?;
    input.begin()?;
    input.send_all(topic, &batch("open"))?;

    let rows = verifier.read(topic, Isolation::ReadCommitted)?;
    ensure!(
        rows.iter()
            .map(strait_tests::verifier::Row::key_text)
            .eq(["committed"]),
        "{rows:?}"
    );
    let expected = vec![("h".to_owned(), Some(b"x".to_vec())), ("n".to_owned(), None)];
    ensure!(rows.iter().all(|row| row.headers == expected), "{rows:?}");
    ensure!(verifier.read(topic, Isolation::ReadUncommitted)?.len() == 3);
    ensure!(verifier.open_transactions(topic)? == 1);
    let states = verifier.transactions("harness.")?;
    ensure!(
        states
            .iter()
            .any(|known| known.id == "harness.0" && known.state == "Ongoing"),
        "{states:?}"
    );
    let ends = verifier.ends(topic)?;
    ensure!(ends.iter().all(|ends| ends.last_stable < ends.high), "{ends:?}");

    input.commit()?;
    ensure!(verifier.open_transactions(topic)? == 0);
    ensure!(verifier.read(topic, Isolation::ReadCommitted)?.len() == 2);
    Ok(())
}
