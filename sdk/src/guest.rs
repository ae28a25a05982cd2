//! One configured transform: what the exported functions and the tests both drive.

use serde::Deserialize;
use serde_json::Value;

use crate::batch::{Builder, InputView, Malformed};
use crate::error::Kind;
use crate::state::Declared;
use crate::{Batch, Output, Transform};

/// A transform with its outputs and its stores.
#[derive(Debug)]
pub struct Guest<T> {
    transform: T,
    outputs: Vec<String>,
    stores: Vec<Declared>,
}

/// Why a call gave no batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The transform does not fit the pipeline: the call returns an error.
    Pipeline(String),
    /// The call must end as a trap does, so that the record can be found that causes it.
    Fault(String),
}

impl Failure {
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Pipeline(message) | Self::Fault(message) => message,
        }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Pipeline(format!(
            "the runtime handed over what this transform cannot read: {malformed}"
        ))
    }
}

/// What `configure` is given.
#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    settings: Value,
    outputs: Vec<String>,
    #[serde(default)]
    stores: Vec<Declared>,
}

impl<T: Transform> Guest<T> {
    pub(crate) fn new(transform: T, outputs: Vec<String>, stores: Vec<Declared>) -> Self {
        Self {
            transform,
            outputs,
            stores,
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn set_outputs(&mut self, outputs: Vec<String>) {
        self.outputs = outputs;
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn set_stores(&mut self, stores: Vec<Declared>) {
        self.stores = stores;
    }

    pub(crate) fn configure(config: &[u8]) -> Result<Self, String> {
        let Configuration {
            settings,
            outputs,
            stores,
        } = serde_json::from_slice(config)
            .map_err(|error| format!("the runtime's configuration is not what this SDK expects: {error}"))?;
        Ok(Self::new(transform_from(settings)?, outputs, stores))
    }

    /// Answers for a batch. Notes in it how far it came.
    pub(crate) fn process(&mut self, batch: &mut [u8]) -> Result<Vec<u8>, Failure> {
        let (view, progress) = InputView::parse_with_progress(batch)?;
        let builder = Builder::new(view.len());
        let mut out = Output::new(builder, &self.outputs, &self.stores, progress, view.now_ms());
        let batch = Batch::new(view);
        let ended = match self.transform.batch(&batch, &mut out) {
            Ok(()) => false,
            Err(error) if error.kind() == Kind::Ended => true,
            Err(_) => {
                out.clear();
                !Self::each_alone(&mut self.transform, &batch, &mut out)?
            }
        };
        match batch.malformed() {
            Some(malformed) => Err(malformed.into()),
            None => out.finish(ended),
        }
    }

    /// Passes the records one at a time, to find the one that an error belongs to. Says whether
    /// it came to the last.
    fn each_alone(transform: &mut T, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<bool, Failure> {
        for index in batch.indices() {
            let only = batch.only(index);
            let record = only.record(index)?;
            if out.attempt(&record, |out| transform.batch(&only, out)).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Makes a transform from the pipeline's settings. None at all are `{}`, which also does for
/// a transform whose settings are `()`.
pub(crate) fn transform_from<T: Transform>(settings: Value) -> Result<T, String> {
    let settings = if settings.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        settings
    };
    let none = settings.as_object().is_some_and(serde_json::Map::is_empty);
    let parsed = match serde_json::from_value(settings) {
        Err(_) if none && serde_json::from_value::<T::Settings>(Value::Null).is_ok() => {
            serde_json::from_value(Value::Null)
        }
        parsed => parsed,
    };
    let settings = parsed.map_err(|error| format!("the settings do not fit the transform: {error}"))?;
    T::new(settings).map_err(|error| format!("the transform refuses its settings: {error}"))
}
