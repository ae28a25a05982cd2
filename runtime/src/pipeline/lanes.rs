//! Starts a lane in a thread of its own. Consumer, producer and instances are made in that
//! thread and never leave it.

use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::dedup::changelog::{ChangelogClaims, ClaimReads};
use crate::dedup::judge::{Dedup, Holder};
use crate::dedup::redis::RedisClaims;
use crate::dedup::sql::SqlClaims;
use crate::dedup::store::Stores;
use crate::guest::Module;
use crate::kafka::consumer::LibrdConsumer;
use crate::kafka::plain::PlainProducerFactory;
use crate::kafka::settings::{ConsumerSettings, OutputTopic, ProducerSettings};
use crate::kafka::transaction::LibrdProducerFactory;
use crate::kafka::{Consumer, Producer, ProducerFactory};
use crate::lane::control::{LaneControl, LaneEnd};
use crate::lane::directory::Directory;
use crate::lane::keyed::States;
use crate::lane::report::Report;
use crate::lane::{Lane, Parts};
use crate::plan::{Delivery, InputTopics, Pipeline};
use crate::restore::Restorer;
use crate::stage::Stages;
use crate::state::local::Folder;
use crate::state::restore::{StateReads, Tickets};
use crate::state::session::Session;

use super::preflight::Facts;
use super::supervisor::Supervisor;

/// What a record of a changelog takes beside what the transform chose: more than enough.
const RECORD_OVERHEAD_BYTES: usize = 512;

/// What it takes to start a lane of one pipeline.
pub struct LaneStarter<'a> {
    pub supervisor: &'a Supervisor,
    pub facts: &'a Facts,
    /// The local copy of the state.
    pub folder: Option<&'a Folder>,
    pub control: &'a LaneControl,
    pub ends: mpsc::Sender<(usize, LaneEnd)>,
}

/// A lane's thread.
pub struct Started {
    thread: JoinHandle<()>,
    at: Instant,
}

impl Started {
    /// Waits for the thread, and says how long it lived.
    pub fn join(self) -> Duration {
        if self.thread.join().is_err() {
            tracing::error!("a lane's thread panicked");
        }
        self.at.elapsed()
    }
}

/// Says that a lane ended even if its thread panicked.
struct Farewell {
    index: usize,
    end: LaneEnd,
    ends: mpsc::Sender<(usize, LaneEnd)>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, LaneEnd::Drained);
        // Without a supervisor there is nobody to tell.
        self.ends.send((self.index, end)).ok();
    }
}

impl LaneStarter<'_> {
    pub fn start(&self, index: usize) -> Result<Started, String> {
        let seed = Seed {
            index,
            plan: Arc::clone(&self.supervisor.plan),
            modules: self.supervisor.modules.clone(),
            facts: self.facts.clone(),
            control: self.control.clone(),
            budget: Arc::clone(&self.supervisor.budget),
            claims: self.supervisor.claims.clone(),
            state: self.folder.cloned(),
            transactional_id: self
                .supervisor
                .identity
                .transactional_id(&self.supervisor.plan.name, index),
            report: Report::new(
                index,
                self.supervisor.metrics.clone(),
                self.supervisor.health.clone(),
                Arc::clone(&self.supervisor.failures),
                self.supervisor.plan.produced_topics(),
            ),
        };
        let farewell = Farewell {
            index,
            end: LaneEnd::Panicked,
            ends: self.ends.clone(),
        };
        let name = format!("{}-{index}", self.supervisor.plan.name);
        let body = move || {
            let span = tracing::info_span!("lane", pipeline = %seed.plan.name, lane = index);
            let _entered = span.enter();
            let mut farewell = farewell;
            farewell.end = seed.grow();
            drop(farewell);
        };
        let thread = std::thread::Builder::new().name(name).spawn(body);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Started {
            thread,
            at: Instant::now(),
        })
    }
}

/// What crosses into the lane's thread.
struct Seed {
    index: usize,
    plan: Arc<Pipeline>,
    modules: Vec<Module>,
    facts: Facts,
    control: LaneControl,
    budget: Arc<crate::lane::commit_policy::CommitBudget>,
    claims: Option<Stores>,
    state: Option<Folder>,
    transactional_id: String,
    report: Report,
}

impl Seed {
    fn grow(self) -> LaneEnd {
        let settings = producer_settings(&self.plan, &self.facts, &self.transactional_id);
        let id = self.transactional_id.clone();
        match self.plan.delivery {
            Delivery::ExactlyOnce => {
                let hurry = self.control.hurry();
                self.run(LibrdProducerFactory::new(settings, id).heeding(hurry))
            }
            Delivery::AtLeastOnce | Delivery::AtMostOnce => self.run(PlainProducerFactory::new(settings)),
        }
    }

    fn run<F>(self, producers: F) -> LaneEnd
    where
        F: ProducerFactory,
        F::Producer: Producer<Member = <LibrdConsumer as Consumer>::Member>,
    {
        let consumer = LibrdConsumer::open(&ConsumerSettings {
            cluster: self.plan.cluster.clone(),
            group: self.plan.name.to_string(),
            client_id: self.transactional_id.clone(),
            timeouts: self.plan.timeouts,
        });
        let consumer = match consumer {
            Ok(consumer) => consumer,
            Err(error) => return LaneEnd::Failed(format!("cannot create the consumer: {error}")),
        };
        let (session, state) = match self.state() {
            Ok(state) => state.unzip(),
            Err(error) => return LaneEnd::Restart(format!("cannot start a thread: {error}")),
        };
        let stages = match Stages::new(&self.plan, &self.modules, session.as_ref()) {
            Ok(stages) => stages,
            Err(fault) => return LaneEnd::Failed(format!("cannot start the transform: {fault}")),
        };
        let dedup = match self.dedup() {
            Ok(dedup) => dedup,
            Err(error) => return LaneEnd::Restart(format!("cannot start a thread: {error}")),
        };
        let lane = Lane::new(Parts {
            index: self.index,
            consumer,
            producers,
            dedup,
            state,
            stages,
            directory: Arc::clone(&self.facts.directory),
            capacities: Arc::clone(&self.facts.capacities),
            budget: self.budget,
            control: self.control,
            report: self.report,
            plan: self.plan,
        });
        lane.run()
    }
}

impl Seed {
    fn state(&self) -> std::io::Result<Option<(Rc<Session>, States)>> {
        let Some(folder) = &self.state else {
            return Ok(None);
        };
        let stores: Vec<String> = self.plan.stores.iter().map(|store| store.name.clone()).collect();
        let session = Rc::new(Session::new(&self.plan.stores, &self.entry_bytes_max()));
        let progress = self.report.restoring(stores.clone());
        let tickets = Tickets::default();
        let reads = StateReads {
            pipeline: self.plan.name.clone(),
            stores,
            folder: folder.clone(),
            tickets: Arc::clone(&tickets),
        };
        let client_id = format!("{}.state", self.plan.name);
        let restorer = Restorer::start(self.plan.cluster.clone(), client_id, reads, progress)?;
        let states = States::new(Rc::clone(&session), folder.clone(), tickets, Box::new(restorer));
        Ok(Some((session, states)))
    }

    /// What the changelogs of each store take.
    fn entry_bytes_max(&self) -> Vec<usize> {
        let InputTopics::Named(inputs) = &self.plan.input.topics else {
            return Vec::new();
        };
        let of_store = |store: usize| {
            let topics = inputs
                .iter()
                .filter_map(|input| self.plan.state_topic_index(store, input));
            let capacities = topics.filter_map(|topic| self.facts.capacities.get(topic));
            let bytes_max = capacities.map(|capacity| capacity.message_bytes_max).min();
            bytes_max
                .unwrap_or_default()
                .saturating_sub(RECORD_OVERHEAD_BYTES)
        };
        (0..self.plan.stores.len()).map(of_store).collect()
    }

    fn dedup(&self) -> std::io::Result<Option<Dedup>> {
        let (Some(plan), Some(claims)) = (&self.plan.dedup, &self.claims) else {
            return Ok(None);
        };
        let holder = match claims {
            Stores::Memory(shared) => Holder::AtOnce(Box::new(Arc::clone(shared))),
            Stores::Redis {
                address,
                prefix,
                window_ms,
            } => {
                let claims = RedisClaims::new(address.client(), prefix.clone(), *window_ms);
                Holder::AtOnce(Box::new(claims))
            }
            Stores::Sql { address, window_ms } => {
                Holder::AtOnce(Box::new(SqlClaims::new(address.clone(), *window_ms)?))
            }
            Stores::Changelog { ids } => {
                let reads = ClaimReads {
                    pipeline: self.plan.name.clone(),
                    window_ms: plan.window_ms(),
                };
                let restorer = Restorer::start(
                    self.plan.cluster.clone(),
                    format!("{}.claims", self.plan.name),
                    reads,
                    self.report.restoring(vec!["dedup".to_owned()]),
                )?;
                let ids_max = ids.get() / self.plan.lanes;
                let claims = ChangelogClaims::new(plan.window, ids_max, Box::new(restorer));
                Holder::InTransaction(claims)
            }
        };
        let cluster_id = self.facts.directory.cluster_id();
        Ok(Some(Dedup::new(
            Arc::clone(plan),
            &self.plan.name,
            &cluster_id,
            holder,
        )))
    }
}

fn producer_settings(plan: &Pipeline, facts: &Facts, client_id: &str) -> ProducerSettings {
    let topics = plan.produced_topics();
    let topics = topics
        .iter()
        .zip(facts.capacities.iter())
        .enumerate()
        .map(|(index, (topic, capacity))| OutputTopic {
            name: topic.to_string(),
            compression: plan
                .outputs
                .get(index)
                .and_then(|output| output.compression.clone()),
            max_message_bytes: capacity.message_bytes_max,
        });
    ProducerSettings {
        cluster: plan.cluster.clone(),
        client_id: client_id.to_owned(),
        timeouts: plan.timeouts,
        topics: topics.collect(),
    }
}
