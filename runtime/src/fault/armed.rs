//! What the names of [`super`] do. In no release build.
//!
//! Invariant: a name that is not known ends the process, for a test that mistypes one would
//! pass for the wrong reason.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Signal, getpid, kill_process};

use super::{Point, Sabotage};

static ARMED: OnceLock<Armed> = OnceLock::new();

/// A transaction passes three moments at which it may be aborted: so unlikely at each, it
/// becomes one in three.
const ABORT_ONE_IN: u32 = 8;

/// Another thread may take the signal: the one that passed the point must not go on meanwhile.
const UNTIL_STOPPED: Duration = Duration::from_millis(50);

/// As Kafka's protocol numbers them.
const END_TXN: i16 = 26;
const TXN_OFFSET_COMMIT: i16 = 28;

/// What is asked for.
#[derive(Debug)]
pub struct Armed {
    aim: Option<Aim>,
    sabotages: Vec<Sabotage>,
    random: Mutex<SmallRng>,
}

#[derive(Debug)]
struct Aim {
    point: Point,
    hit: u64,
    passed: AtomicU64,
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Stop,
    /// In place of a death, for lanes that live in a test.
    #[cfg(test)]
    Unwind,
}

/// Reads what the environment asks for. To be called once, before anything else.
pub fn arm() -> Result<(), BadFault> {
    let asked = Armed::parse(|name| std::env::var(name).ok())?;
    ARMED.get_or_init(|| asked);
    Ok(())
}

/// The process passes this point, and may not come out of it.
pub fn pass(point: Point) {
    let strikes = with(|armed| armed.aim.as_ref().and_then(|aim| aim.strikes(point)));
    if let Some(action) = strikes.flatten() {
        action.take(point);
    }
}

/// Whether this mistake is to be made.
pub fn has(sabotage: Sabotage) -> bool {
    with(|armed| armed.sabotages.contains(&sabotage)).unwrap_or(false)
}

/// A request is on its way, and its answer is not here.
pub fn request_sent(api_key: i16) {
    match api_key {
        END_TXN => pass(Point::DuringEndTxn),
        TXN_OFFSET_COMMIT => pass(Point::DuringSendOffsets),
        _ => {}
    }
}

pub(super) fn aborts_by_chance() -> bool {
    let draw = |armed: &Armed| {
        let mut random = armed.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.random_range(0..ABORT_ONE_IN) == 0
    };
    has(Sabotage::AbortEveryThird) && with(draw) == Some(true)
}

fn with<R>(ask: impl FnOnce(&Armed) -> R) -> Option<R> {
    #[cfg(test)]
    if let Some(armed) = rehearsal::current() {
        return Some(ask(&armed));
    }
    ARMED.get().map(ask)
}

impl Aim {
    fn strikes(&self, point: Point) -> Option<Action> {
        let passed = self.point == point && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == self.hit;
        passed.then_some(self.action)
    }
}

impl Action {
    fn take(self, point: Point) {
        tracing::warn!(point = point.as_str(), action = ?self, "fail point");
        let (signal, wait) = match self {
            Self::Kill => (Signal::KILL, Duration::MAX),
            Self::Stop => (Signal::STOP, UNTIL_STOPPED),
            #[cfg(test)]
            Self::Unwind => std::panic::resume_unwind(Box::new(rehearsal::Died)),
        };
        if let Err(error) = kill_process(getpid(), signal) {
            tracing::error!(%error, "the fail point cannot signal its own process");
            std::process::abort();
        }
        std::thread::sleep(wait);
    }
}

/// Why the environment cannot be done.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?}: {remedy}")]
pub struct BadFault {
    variable: &'static str,
    value: String,
    remedy: String,
}

impl Armed {
    fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadFault> {
        let read = |name: &'static str| variable(name).map(|value| Variable { name, value });
        let action = match read("STRAIT_FAIL_ACTION") {
            None => Action::Kill,
            Some(asked) => match asked.value.as_str() {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                _ => return Err(asked.bad("give kill or stop")),
            },
        };
        let aim = read("STRAIT_FAIL_POINT")
            .map(|asked| asked.aim(action))
            .transpose()?;
        let sabotages = read("STRAIT_FAULT").map_or(Ok(Vec::new()), |asked| asked.sabotages())?;
        let seed = read("STRAIT_FAULT_SEED").map_or(Ok(0), |asked| asked.number(&asked.value))?;
        Ok(Self {
            aim,
            sabotages,
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
        })
    }
}

struct Variable {
    name: &'static str,
    value: String,
}

impl Variable {
    fn bad(&self, remedy: &str) -> BadFault {
        BadFault {
            variable: self.name,
            value: self.value.clone(),
            remedy: remedy.to_owned(),
        }
    }

    fn number(&self, text: &str) -> Result<u64, BadFault> {
        u64::from_str(text).map_err(|error| self.bad(&format!("{text:?} is not a number: {error}")))
    }

    fn aim(&self, action: Action) -> Result<Aim, BadFault> {
        let (name, hit) = match self.value.split_once(':') {
            Some((name, hit)) => (name, self.number(hit)?),
            None => (self.value.as_str(), 1),
        };
        if hit == 0 {
            return Err(self.bad("the first time is 1"));
        }
        let mut points = Point::each();
        let point = points.find(|point| point.as_str() == name);
        let point = point.ok_or_else(|| self.unknown(name, &Point::ALL.map(Point::as_str)))?;
        Ok(Aim {
            point,
            hit,
            passed: AtomicU64::new(0),
            action,
        })
    }

    fn sabotages(&self) -> Result<Vec<Sabotage>, BadFault> {
        let find = |name: &str| Sabotage::ALL.into_iter().find(|known| known.as_str() == name);
        let names = self.value.split(',');
        let unknown = |name| self.unknown(name, &Sabotage::ALL.map(Sabotage::as_str));
        names
            .map(|name| find(name).ok_or_else(|| unknown(name)))
            .collect()
    }

    fn unknown(&self, name: &str, known: &[&str]) -> BadFault {
        self.bad(&format!("{name:?} is unknown, known are {}", known.join(", ")))
    }
}

/// Faults of one thread alone, for lanes that live in a test.
#[cfg(test)]
pub mod rehearsal {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::rc::Rc;

    use super::{Action, Aim, Armed, AtomicU64, Mutex, Point, Sabotage, SeedableRng, SmallRng};

    thread_local! {
        static CURRENT: RefCell<Option<Rc<Armed>>> = const { RefCell::new(None) };
    }

    /// What a process that died leaves of a panic.
    pub struct Died;

    pub(super) fn current() -> Option<Rc<Armed>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Runs it with these faults; `None` if it died at the point.
    pub fn rehearse<R>(
        point: Option<(Point, u64)>,
        sabotages: &[Sabotage],
        seed: u64,
        act: impl FnOnce() -> R,
    ) -> Option<R> {
        let aim = point.map(|(point, hit)| Aim {
            point,
            hit,
            passed: AtomicU64::new(0),
            action: Action::Unwind,
        });
        CURRENT.set(Some(Rc::new(Armed {
            aim,
            sabotages: sabotages.to_vec(),
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
        })));
        let end = catch_unwind(AssertUnwindSafe(act));
        CURRENT.set(None);
        match end {
            Ok(result) => Some(result),
            Err(panic) if panic.is::<Died>() => None,
            Err(panic) => resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Armed, String> {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Armed::parse(find).map_err(|error| error.to_string())
    }

    #[test]
    fn every_name_is_known() {
        for point in Point::each() {
            let armed = parse(&[("STRAIT_FAIL_POINT", &format!("{}:3", point.as_str()))]).unwrap();
            let aim = armed.aim.unwrap();
            assert_eq!((aim.point, aim.hit, aim.action), (point, 3, Action::Kill));
        }
        for sabotage in Sabotage::ALL {
            let armed = parse(&[("STRAIT_FAULT", sabotage.as_str())]).unwrap();
            assert_eq!(armed.sabotages, [sabotage]);
        }
        let both = parse(&[("STRAIT_FAULT", "no-rewind,abort-every-third")]).unwrap();
        assert_eq!(both.sabotages, [Sabotage::NoRewind, Sabotage::AbortEveryThird]);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        for (variable, value, remedy) in [
            ("STRAIT_FAIL_POINT", "after-sendoffsets", "after-send-offsets"),
            ("STRAIT_FAIL_POINT", "after-begin:0", "the first time is 1"),
            ("STRAIT_FAIL_POINT", "after-begin:x", "not a number"),
            ("STRAIT_FAIL_ACTION", "exit", "kill or stop"),
            ("STRAIT_FAULT", "no-rewind,no-gard", "no-guard"),
            ("STRAIT_FAULT_SEED", "-1", "not a number"),
        ] {
            let refusal = parse(&[(variable, value)]).unwrap_err();
            assert!(
                refusal.contains(variable) && refusal.contains(remedy),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_point_strikes_once_at_its_hit() {
        let armed = parse(&[
            ("STRAIT_FAIL_POINT", "after-flush:2"),
            ("STRAIT_FAIL_ACTION", "stop"),
        ])
        .unwrap();
        let aim = armed.aim.unwrap();
        let passed = [
            Point::AfterFlush,
            Point::AfterBegin,
            Point::AfterFlush,
            Point::AfterFlush,
        ];
        assert_eq!(
            passed.map(|point| aim.strikes(point)),
            [None, None, Some(Action::Stop), None]
        );
    }
}
