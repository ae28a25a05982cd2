//! `strait dlq replay`: puts the records of letters back, each once.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use strait_sdk::batch::Record;

use super::Trouble;
use super::desk::{Desk, Read, each};
use super::ledger::{Entry, Ledger, Outgoing, Settled};
use super::letter::{Letter, Place};
use super::marks::{Mark, Marks};
use super::put_back::{PutBack, Target};
use super::selection::Selection;
use crate::inquiry::{self, ANSWER, Progress, Reader, Stretch, insist};
use crate::kafka::settings::{OutputTopic, ProducerSettings};
use crate::kafka::transaction::LibrdProducerFactory;
use crate::kafka::{ProducerFactory, TopicPartition, codes};
use crate::pipeline::cluster::input_topics;

/// What one transaction holds at the most, but for a single record that is larger.
const BATCH_LETTERS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;

/// Of more letters that were left out, only the count is kept.
const LEFT_OUT_MAX: usize = 1000;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its state is not asked: only what waits is replayed.
    pub selection: Selection,
    pub to: Option<String>,
    pub replays_max: u32,
    pub redate: bool,
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Report {
    pub replayed: u64,
    /// Letters that were asked for by name, and do not wait any more.
    pub done_before: Vec<(Place, Mark)>,
    /// The first of those that cannot be replayed, and why; all of them are counted.
    pub left_out: Vec<(Place, String)>,
    pub left_out_count: u64,
}

impl Report {
    fn leave_out(&mut self, place: Place, why: String) {
        self.left_out_count += 1;
        if self.left_out.len() < LEFT_OUT_MAX {
            self.left_out.push((place, why));
        }
    }
}

/// Replays what is selected and waits.
pub fn run(desk: &Desk, request: &Request, progress: &mut Progress<'_>) -> Result<Report, Trouble> {
    let (topics, put_back) = targets(desk, request)?;
    if request.dry_run {
        let looked = Looked(desk.marks()?);
        return Replay::new(desk, request, put_back, looked).run(progress);
    }
    let ledger = open(desk, topics)?;
    Replay::new(desk, request, put_back, ledger).run(progress)
}

/// The ledger of a pipeline, which may produce to these topics too; that of the marks follows them.
pub(super) fn open(
    desk: &Desk,
    mut topics: Vec<OutputTopic>,
) -> Result<Ledger<'_, LibrdProducerFactory>, Trouble> {
    let marks = desk.make_marks_topic()?;
    let marks_topic = topics.len();
    let plan = &desk.plan;
    topics.push(OutputTopic {
        name: plan.name.dead_letter_marks_topic(),
        compression: None,
        max_message_bytes: marks,
    });
    // A lane's ends in a number, so this is none of a lane.
    let transactional_id = format!("{}.dlq", plan.name);
    let settings = ProducerSettings {
        cluster: plan.cluster.clone(),
        client_id: transactional_id.clone(),
        timeouts: plan.timeouts,
        topics,
    };
    let factory = LibrdProducerFactory::new(settings, transactional_id);
    let read_marks = Box::new(|| desk.all_marks());
    let patience = plan.timeouts.transaction;
    Ledger::open(
        factory,
        marks_topic,
        plan.name.as_str(),
        patience,
        now_ms(),
        read_marks,
    )
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// The topics that records may go to: the inputs, or the one that is named.
fn targets(desk: &Desk, request: &Request) -> Result<(Vec<OutputTopic>, PutBack), Trouble> {
    let to = request.to.as_deref();
    if let Some(to) = to.filter(|to| *to == &*desk.topic || to.starts_with("__strait.")) {
        let what = format!("{to} is a topic of Strait's own; name another one with --to");
        return Err(Trouble::Usage(what));
    }
    let inputs = insist("find the inputs", || input_topics(&desk.plan, &desk.admin))?;
    let mut names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    names.extend(to.filter(|to| !inputs.iter().any(|input| input == to)));
    let (topics, found) = existing(desk, &names)?;
    let missing = |to: &str| Trouble::Usage(format!("topic {to} does not exist; create it, or correct --to"));
    let to = to.map(|to| found.get(to).cloned().ok_or_else(|| missing(to)));
    let put_back = PutBack {
        cluster_id: desk.cluster_id.clone(),
        pipeline: desk.plan.name.to_string(),
        to: to.transpose()?,
        inputs: found,
        replays_max: request.replays_max,
        redate: request.redate,
    };
    Ok((topics, put_back))
}

/// Those of the topics that exist.
fn existing(desk: &Desk, names: &[&str]) -> Result<(Vec<OutputTopic>, HashMap<String, Target>), Trouble> {
    let doing = "look at the inputs";
    let described = insist(doing, || desk.admin.describe(names, ANSWER))?;
    let there = names.iter().zip(described);
    let there: Vec<_> = there
        .filter_map(|(name, described)| Some((*name, described.ok()?)))
        .collect();
    let names: Vec<&str> = there.iter().map(|(name, _)| *name).collect();
    let limits = insist(doing, || desk.admin.max_message_bytes(&names, ANSWER))?;
    let (mut topics, mut found) = (Vec::new(), HashMap::new());
    for ((name, described), limit) in there.into_iter().zip(limits) {
        let target = Target {
            name: name.to_owned(),
            index: topics.len(),
            topic_id: described.id.unwrap_or_else(|| name.to_owned()),
            partitions: described.partitions,
        };
        found.insert(name.to_owned(), target);
        topics.push(OutputTopic {
            name: name.to_owned(),
            compression: None,
            max_message_bytes: limit,
        });
    }
    Ok((topics, found))
}

/// Where batches go.
trait Sink {
    fn marks(&self) -> &Marks;
    fn settle(&mut self, batch: Vec<Entry>) -> Result<Settled, Trouble>;
}

impl<F: ProducerFactory> Sink for Ledger<'_, F> {
    fn marks(&self) -> &Marks {
        Ledger::marks(self)
    }

    fn settle(&mut self, batch: Vec<Entry>) -> Result<Settled, Trouble> {
        Ledger::settle(self, batch)
    }
}

/// Of a dry run: everything would have gone well.
struct Looked(Marks);

impl Sink for Looked {
    fn marks(&self) -> &Marks {
        &self.0
    }

    fn settle(&mut self, batch: Vec<Entry>) -> Result<Settled, Trouble> {
        Ok(Settled {
            done: batch.len(),
            refused: Vec::new(),
        })
    }
}

struct Replay<'a, S> {
    desk: &'a Desk,
    selection: &'a Selection,
    put_back: PutBack,
    sink: S,
    batch: Vec<Entry>,
    batch_bytes: usize,
    /// Those asked for by name that were not met yet.
    missing: BTreeSet<Place>,
    /// Of records whose letters do not hold them.
    originals: Option<Reader>,
    report: Report,
}

impl<'a, S: Sink> Replay<'a, S> {
    fn new(desk: &'a Desk, request: &'a Request, put_back: PutBack, sink: S) -> Self {
        Self {
            desk,
            selection: &request.selection,
            put_back,
            sink,
            batch: Vec::new(),
            batch_bytes: 0,
            missing: request.selection.places.clone(),
            originals: None,
            report: Report::default(),
        }
    }

    fn run(mut self, progress: &mut Progress<'_>) -> Result<Report, Trouble> {
        let (desk, selection) = (self.desk, self.selection);
        desk.letters(selection, progress, &mut |record, read| {
            self.take(record, read)?;
            Ok(ControlFlow::Continue(()))
        })?;
        self.flush()?;
        for place in std::mem::take(&mut self.missing) {
            self.report.leave_out(place, "there is no record".to_owned());
        }
        Ok(self.report)
    }

    fn take(&mut self, record: &dyn Record, read: Read) -> Result<(), Trouble> {
        let letter = match read {
            Read::Ours(letter) => letter,
            Read::Others(Letter { place, told, .. }) => {
                if self.missing.remove(&place) {
                    let whose = told.pipeline.unwrap_or(told.topic);
                    self.report
                        .leave_out(place, format!("it is of another pipeline ({whose})"));
                }
                return Ok(());
            }
            Read::NoLetter(place) => {
                if self.missing.remove(&place) {
                    self.report.leave_out(place, "it is no dead letter".to_owned());
                }
                return Ok(());
            }
        };
        let is_named = self.missing.remove(&letter.place);
        if !self.selection.means(&letter) {
            return Ok(());
        }
        if let Some(mark) = self.sink.marks().of(letter.place) {
            if is_named {
                self.report.done_before.push((letter.place, mark));
            }
            return Ok(());
        }
        match self.outgoing(&letter, record)? {
            Ok(outgoing) => self.put(letter.place, outgoing),
            Err(why) => {
                self.report.leave_out(letter.place, why);
                Ok(())
            }
        }
    }

    /// The inner error: it cannot be replayed.
    fn outgoing(
        &mut self,
        letter: &Letter,
        record: &dyn Record,
    ) -> Result<Result<Outgoing, String>, Trouble> {
        if !letter.told.is_truncated {
            return Ok(self.put_back.outgoing(letter, record, letter.told.own_headers));
        }
        if let Err(why) = self.put_back.target(letter) {
            return Ok(Err(why));
        }
        self.original(letter)
    }

    /// The letter does not hold its record: it is read where it stood, if it still stands there.
    fn original(&mut self, letter: &Letter) -> Result<Result<Outgoing, String>, Trouble> {
        let told = &letter.told;
        let Some(topic_id) = &told.topic_id else {
            let why =
                "it does not hold its record, and its style does not tell the topic's id; replay it by hand";
            return Ok(Err(why.to_owned()));
        };
        let gone = || {
            Ok(Err(format!(
                "it does not hold its record, and {} is gone",
                letter.origin()
            )))
        };
        let partition = TopicPartition {
            topic: told.topic.as_str().into(),
            partition: told.partition,
        };
        let bounds = match self.desk.admin.bounds(&partition, ANSWER) {
            Ok(bounds) => bounds,
            Err(error) if error.retriable || codes::is_transient(error.code) => {
                let doing = format!("look for {}", letter.origin());
                return Err(inquiry::Trouble::of(&doing, error).into());
            }
            Err(_) => return gone(),
        };
        if !(bounds.start..bounds.end).contains(&told.offset) {
            return gone();
        }
        let stretch = Stretch {
            index: 0,
            partition,
            from: told.offset,
            to: told.offset + 1,
        };
        let reader = match &mut self.originals {
            Some(reader) => reader,
            none => none.insert(self.desk.reader()?),
        };
        let put_back = &self.put_back;
        let mut found = None;
        each(reader, stretch, &mut |_| {}, &mut |record| {
            found = Some(put_back.outgoing(letter, record, record.header_count()));
            Ok(ControlFlow::Break(()))
        })?;
        // Asked afterwards: an id that is the same now was the same while it was read.
        let now = inquiry::topic(&self.desk.admin, "look at the input", &told.topic)?;
        let now = now.and_then(|topic| topic.id);
        match found {
            Some(found) if now.as_ref() == Some(topic_id) => Ok(found),
            _ => gone(),
        }
    }

    fn put(&mut self, place: Place, outgoing: Outgoing) -> Result<(), Trouble> {
        let bytes = outgoing.bytes();
        if self.batch.len() >= BATCH_LETTERS || self.batch_bytes + bytes > BATCH_BYTES {
            self.flush()?;
        }
        self.batch_bytes += bytes;
        self.batch.push(Entry {
            place,
            mark: Some(Mark::Replayed),
            record: Some(outgoing),
        });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        self.batch_bytes = 0;
        let settled = self.sink.settle(std::mem::take(&mut self.batch))?;
        self.report.replayed += settled.done as u64;
        for (place, why) in settled.refused {
            self.report
                .leave_out(place, format!("it cannot be written back: {why}"));
        }
        Ok(())
    }
}
