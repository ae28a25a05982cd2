//! The transactional producer: the only file that calls init, begin, send offsets,
//! commit and abort.
//!
//! Each call ends in one arm of [`TransactionError`], tested in this order:
//!
//! | librdkafka says | here | what the lane does |
//! | --- | --- | --- |
//! | fatal | `Fatal` | replaces the producer, then resolves |
//! | requires abort | `Abortable` | aborts, rewinds, begins again |
//! | retriable | the same call again, until the deadline, then `NoVerdict` | replaces the producer, then resolves |
//! | none of these | `Fatal` | as above |
//!
//! Init, commit and abort go on in the background when they time out, and only the
//! same call may follow; so they are made in slices. Sending offsets may never come back:
//! see [`offsets`](super::offsets).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::consumer::LibrdMember;
use super::ffi::error::{CallFailed, of_code};
use super::hurry::Hurry;
use super::offsets::OffsetsThread;
use super::patience::Patience;
use super::producer::Core;
use super::settings::ProducerSettings;
use super::{
    FailedDelivery, KafkaError, Position, Produce, ProduceError, Producer, ProducerFactory, TransactionError,
    codes,
};

/// How long one call of those that go on in the background is, and how soon a hurry is noticed.
pub(super) const SLICE: Duration = Duration::from_millis(500);
/// Distance of two calls after a retriable error.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// An abort right after the begin can be fatal (librdkafka 4849): it waits this long for
/// an acknowledgement, which proves that the coordinator knows the transaction.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(1);
/// So many producers of one lane may hang at once before no further one is opened.
pub(super) const LEFT_BEHIND_MAX: usize = 4;
/// Or only this often: they may hang for long, and it may not.
const ONE_MORE: Duration = Duration::from_mins(1);

/// Opens producers that carry on one transactional id.
#[derive(Debug, Clone)]
pub struct LibrdProducerFactory {
    settings: ProducerSettings,
    transactional_id: String,
    patience: Patience,
    hurry: Hurry,
    /// Held by each thread that sends offsets, for as long as it lives.
    alive: Arc<()>,
    /// When the last producer was opened.
    opened: Arc<Mutex<Option<Instant>>>,
}

impl LibrdProducerFactory {
    pub fn new(settings: ProducerSettings, transactional_id: String) -> Self {
        Self {
            settings,
            transactional_id,
            patience: Patience::default(),
            hurry: Hurry::default(),
            alive: Arc::default(),
            opened: Arc::default(),
        }
    }

    /// Its producers, and the calls that open them, heed this hurry.
    #[must_use]
    pub fn heeding(mut self, hurry: Hurry) -> Self {
        self.hurry = hurry;
        self
    }

    pub fn settings(&self) -> &ProducerSettings {
        &self.settings
    }

    pub fn transactional_id(&self) -> &str {
        &self.transactional_id
    }

    /// As a thread of a producer of this factory's does.
    #[cfg(all(test, feature = "slow-tests"))]
    pub(super) fn hang(&self) -> Arc<()> {
        Arc::clone(&self.alive)
    }

    /// What hangs keeps its threads, its connections and its buffers.
    fn refuse_too_many(&self) -> Result<(), TransactionError> {
        let left_behind = Arc::strong_count(&self.alive) - 1;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = opened.is_some_and(|opened| opened.elapsed() < ONE_MORE);
        if left_behind <= LEFT_BEHIND_MAX || !is_recent {
            *opened = Some(Instant::now());
            return Ok(());
        }
        Err(TransactionError::NoVerdict(of_code(
            codes::LOCAL_TIMED_OUT,
            &format!(
                "{left_behind} producers before this one hang in sending offsets, and have to end first"
            ),
        )))
    }
}

impl ProducerFactory for LibrdProducerFactory {
    type Producer = LibrdProducer;

    /// Fences the producer before it, and ends that one's transaction.
    fn open(&self, deadline: Instant) -> Result<LibrdProducer, TransactionError> {
        self.refuse_too_many()?;
        let core = Core::open(&self.settings, Some(&self.transactional_id))
            .map_err(|cause| TransactionError::Fatal { fenced: false, cause })?;
        let init = |slice| core.client().init_transactions(slice);
        until_verdict(deadline, &self.hurry, SLICE, init)?;
        // What went unanswered so far belongs to an older epoch.
        core.handle().hooks().guard().reset();
        let offsets = OffsetsThread::start(Arc::clone(core.shared()), Arc::clone(&self.alive))
            .map_err(|cause| TransactionError::Fatal { fenced: false, cause })?;
        Ok(LibrdProducer {
            core,
            offsets,
            patience: self.patience.clone(),
            hurry: self.hurry.clone(),
            begun: false,
            produced: 0,
            registered: false,
            abandoned: false,
        })
    }
}

/// A transactional producer over librdkafka.
#[derive(Debug)]
pub struct LibrdProducer {
    core: Core,
    offsets: OffsetsThread,
    patience: Patience,
    hurry: Hurry,
    /// Between a begin and the verdict on its commit or abort.
    begun: bool,
    /// Records queued in this transaction.
    produced: usize,
    /// The coordinator knows of this transaction, or it has failed: an abort need not wait.
    registered: bool,
    /// A call never came back.
    abandoned: bool,
}

impl LibrdProducer {
    fn usable(&self) -> Result<(), TransactionError> {
        if self.abandoned {
            return Err(TransactionError::NoVerdict(of_code(
                codes::LOCAL_TIMED_OUT,
                "an earlier call of this producer never came back",
            )));
        }
        Ok(())
    }

    /// After an error that demands the abort, there is nothing to wait for in it.
    fn noted<T>(&mut self, outcome: Result<T, TransactionError>) -> Result<T, TransactionError> {
        if let Err(TransactionError::Abortable(_)) = &outcome {
            self.registered = true;
        }
        outcome
    }

    /// A transaction that has failed takes no record any more and says no more than that. Any
    /// other call tells why; this one has no effect in a transaction that was begun.
    fn explained(&mut self, error: ProduceError) -> ProduceError {
        let ProduceError::Transaction(TransactionError::Abortable(said)) = error else {
            return error;
        };
        self.registered = true;
        if !self.begun || said.code != codes::LOCAL_STATE {
            return TransactionError::Abortable(said).into();
        }
        let why = match self.core.client().begin_transaction() {
            Err(failed) if failed.abortable => failed.error,
            _ => said,
        };
        TransactionError::Abortable(why).into()
    }

    fn await_acknowledgement(&self, deadline: Instant) {
        let until = deadline.min(Instant::now() + ACKNOWLEDGED_MAX);
        while !self.registered
            && self.produced > 0
            && self.core.client().outstanding() >= self.produced
            && Instant::now() < until
        {
            // Sends at once what would linger; the verdict does not matter here.
            self.core.client().flush(Duration::from_millis(5)).ok();
        }
    }
}

impl Producer for LibrdProducer {
    type Member = LibrdMember;

    fn begin(&mut self) -> Result<(), TransactionError> {
        self.usable()?;
        if self.begun {
            return Ok(());
        }
        let soon = Instant::now() + AGAIN.1;
        until_verdict(soon, &self.hurry, SLICE, |_| {
            self.core.client().begin_transaction()
        })?;
        (self.begun, self.produced, self.registered) = (true, 0, false);
        // Those of a transaction before, if nobody asked for them.
        drop(self.core.take_refused());
        Ok(())
    }

    fn produce(&mut self, record: &Produce<'_>, deadline: Instant) -> Result<(), ProduceError> {
        self.usable()?;
        self.core
            .produce(record, deadline)
            .map_err(|error| self.explained(error))?;
        self.produced += 1;
        Ok(())
    }

    fn flush(&mut self, deadline: Instant) -> Result<(), TransactionError> {
        self.usable()?;
        self.core.flush(deadline)
    }

    fn send_offsets(
        &mut self,
        positions: &[Position],
        member: &LibrdMember,
        deadline: Instant,
    ) -> Result<(), TransactionError> {
        self.usable()?;
        if positions.is_empty() {
            return Ok(());
        }
        let sent = self
            .offsets
            .send(positions, member, deadline, self.patience.bound(), &self.hurry)
            .unwrap_or_else(|cause| {
                self.abandoned = true;
                Err(TransactionError::NoVerdict(cause))
            });
        match &sent {
            Err(error) if timed_out(error) => self.patience.exhausted(),
            _ => self.patience.answered(),
        }
        self.registered |= sent.is_ok();
        self.noted(sent)
    }

    fn commit(&mut self, deadline: Instant) -> Result<(), TransactionError> {
        self.usable()?;
        if !self.begun {
            return Ok(());
        }
        let verdict = until_verdict(deadline, &self.hurry, SLICE, |slice| {
            self.core.client().commit_transaction(slice)
        });
        self.begun &= verdict.is_err();
        self.noted(verdict)
    }

    fn abort(&mut self, deadline: Instant) -> Result<(), TransactionError> {
        self.usable()?;
        if !self.begun {
            return Ok(());
        }
        self.await_acknowledgement(deadline);
        let verdict = until_verdict(deadline, &self.hurry, SLICE, |slice| {
            self.core.client().abort_transaction(slice)
        });
        self.begun &= verdict.is_err();
        verdict
    }

    fn suspicion(&self) -> Option<String> {
        if self.abandoned {
            return Some("a call of the client library never came back".to_owned());
        }
        self.core
            .handle()
            .hooks()
            .guard()
            .suspicion()
            .or_else(|| self.core.gap())
    }

    fn failed_deliveries(&mut self) -> Vec<FailedDelivery> {
        self.core.take_refused()
    }

    fn discard(self) {
        // The threads let go by themselves; the last one frees the client.
        drop(self);
    }
}

/// Makes the call until it has a verdict or the deadline has passed, at least once.
/// The call gets how long it may take.
pub(super) fn until_verdict(
    deadline: Instant,
    hurry: &Hurry,
    slice: Duration,
    call: impl Fn(Duration) -> Result<(), CallFailed>,
) -> Result<(), TransactionError> {
    let mut pause = AGAIN.0;
    let started = Instant::now();
    let left = || {
        let deadline = hurry.brought_forward(deadline, started);
        deadline.saturating_duration_since(Instant::now())
    };
    loop {
        let Err(failed) = call(slice.min(left())) else {
            return Ok(());
        };
        let cause = match classify(failed) {
            Verdict::Again(cause) => cause,
            Verdict::End(error) => return Err(error),
        };
        if left().is_zero() {
            return Err(TransactionError::NoVerdict(cause));
        }
        // A call that timed out has waited already.
        if cause.code != codes::LOCAL_TIMED_OUT {
            std::thread::sleep(pause.min(left()));
            pause = (pause * 2).min(AGAIN.1);
        }
    }
}

#[derive(Debug)]
enum Verdict {
    Again(KafkaError),
    End(TransactionError),
}

/// The arms, in the order in which the library wants them tested.
fn classify(failed: CallFailed) -> Verdict {
    let CallFailed { error, abortable } = failed;
    let fenced = codes::is_fenced(error.code);
    if error.fatal || fenced {
        // AddOffsetsToTxn lets a fenced producer go on to its abort, which would fail.
        Verdict::End(TransactionError::Fatal { fenced, cause: error })
    } else if abortable {
        Verdict::End(TransactionError::Abortable(error))
    } else if error.retriable {
        Verdict::Again(error)
    } else {
        Verdict::End(TransactionError::Fatal {
            fenced: false,
            cause: error,
        })
    }
}

fn timed_out(error: &TransactionError) -> bool {
    match error {
        TransactionError::NoVerdict(_) => true,
        TransactionError::Abortable(cause) | TransactionError::Fatal { cause, .. } => {
            cause.code == codes::LOCAL_TIMED_OUT
        }
    }
}
