//! Where log lines go: standard error, as text for people or JSON for programs.
//!
//! Invariants: standard output stays free for what a command prints; nothing is configured
//! from the environment behind the caller's back.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// What lines are written of.
type Filtered = Layered<EnvFilter, Registry>;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    /// One object a line.
    Json,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "log filter {filter:?} is not usable: {cause}; give a level (error, warn, info, debug, trace), or \
         levels by module such as `info,strait::lane=debug`"
    )]
    Filter { filter: String, cause: String },
    #[error("log format {0:?} is unknown: give text or json")]
    Format(String),
    #[error("logs are already set up: {0}")]
    Twice(String),
}

impl FromStr for Format {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format(text.to_owned())),
        }
    }
}

/// Sends the logs of the whole process, its libraries included, to standard error. Once a
/// process.
///
/// `filter` is a level, which holds for Strait (its libraries then speak from `warn` on), or
/// levels by module, which hold as they are.
pub fn init(filter: &str, format: Format) -> Result<(), LogError> {
    subscriber(filter, format, io::stderr, io::stderr().is_terminal())?
        .try_init()
        .map_err(|failure| LogError::Twice(failure.to_string()))
}

fn subscriber<W>(
    filter: &str,
    format: Format,
    writer: W,
    colours: bool,
) -> Result<impl Subscriber + Send + Sync + 'static, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let directives = directives(filter);
    let filtered = EnvFilter::builder()
        .with_regex(false)
        .parse(directives)
        .map_err(|cause| LogError::Filter {
            filter: filter.to_owned(),
            cause: cause.to_string(),
        })?;
    // The filter stands before all layers, and not at one of them: a filter of a layer leaves a
    // mark for the event that it let pass, and records of the crate `log` that are asked about
    // and never sent would leave theirs to the next event of the thread, which then is lost.
    let lines: Box<dyn Layer<Filtered> + Send + Sync> = match format {
        Format::Text => Box::new(fmt::layer().with_writer(writer).with_ansi(colours)),
        Format::Json => Box::new(fmt::layer().json().with_writer(writer)),
    };
    Ok(tracing_subscriber::registry().with(filtered).with(lines))
}

/// At `debug` the libraries say thousands of things that nobody asked for.
fn directives(filter: &str) -> String {
    match filter.trim().parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::WARN => format!("warn,strait={level}"),
        Ok(level) => level.to_string(),
        Err(_) => filter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, subscriber::with_default, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of a few lines, one of them a library's.
    fn logged(filter: &str, format: Format) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(filter, format, move || writer.clone(), false).unwrap();
        with_default(subscriber, || {
            debug!("ours-debug");
            info!(pipeline = "orders", "ours-info");
            info!(target: "hyper::proto", "library-info");
            warn!(target: "hyper::proto", "library-warn");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_level_is_strait_s_own_and_libraries_only_warn() {
        let text = logged("info", Format::Text);
        assert!(
            text.contains("ours-info") && text.contains("library-warn"),
            "{text}"
        );
        assert!(
            !text.contains("ours-debug") && !text.contains("library-info"),
            "{text}"
        );
        assert!(logged("debug", Format::Text).contains("ours-debug"));
        assert_eq!(logged("error", Format::Text), "");
    }

    #[test]
    fn levels_by_module_hold_as_they_are() {
        let text = logged("warn,hyper=info", Format::Text);
        assert!(
            text.contains("library-info") && !text.contains("ours-info"),
            "{text}"
        );
    }

    #[test]
    fn json_is_an_object_a_line_with_its_fields() {
        let text = logged("info", Format::Json);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["fields"]["message"], "ours-info");
        assert_eq!(first["fields"]["pipeline"], "orders");
    }

    #[test]
    fn a_mistake_is_named_with_what_to_write() {
        let refusal = init("info,strait=loud", Format::Text).unwrap_err().to_string();
        assert!(refusal.contains("loud") && refusal.contains("debug"), "{refusal}");
        let refusal = "yaml".parse::<Format>().unwrap_err().to_string();
        assert!(refusal.contains("json"), "{refusal}");
    }
}
