//! Notices when the sources of a transform or a pipeline file change.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::plan::{ModuleSource, Pipeline};

/// Editors write a file in several steps, and save several files at once.
const SETTLE: Duration = Duration::from_millis(200);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _watcher: RecommendedWatcher,
}

/// Changes that have been noticed, and when the last one was.
#[derive(Debug, Default)]
pub struct Changes {
    latest: Option<Instant>,
}

impl Changes {
    /// Something changed just now.
    pub fn note(&mut self, now: Instant) {
        self.latest = Some(now);
    }

    /// True once for each burst of changes, when it is over.
    pub fn take_settled(&mut self, now: Instant) -> bool {
        let settled = self
            .latest
            .is_some_and(|latest| now.saturating_duration_since(latest) >= SETTLE);
        if settled {
            self.latest = None;
        }
        settled
    }
}

impl Watch {
    /// Calls `changed`, from a thread of the watcher, after each change of a file that
    /// `pipelines` come from.
    pub fn start(pipelines: &[Pipeline], changed: impl Fn() + Send + 'static) -> Result<Self, notify::Error> {
        let sources = sources(pipelines);
        let files = sources.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) if is_change(event.kind) && event.paths.iter().any(|path| concerns(&files, path)) => {
                changed();
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "watching sources"),
        })?;
        for Watched { path, within } in &sources {
            // Editors replace files, so it is the folder that is watched.
            let (folder, mode) = match within {
                true => (path.as_path(), RecursiveMode::Recursive),
                false => (path.parent().unwrap_or(path), RecursiveMode::NonRecursive),
            };
            if folder.is_dir() {
                watcher.watch(folder, mode)?;
            }
        }
        Ok(Self { _watcher: watcher })
    }
}

/// A file, or everything within a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Watched {
    path: PathBuf,
    within: bool,
}

fn sources(pipelines: &[Pipeline]) -> Vec<Watched> {
    let mut sources = Vec::new();
    let mut add = |path: &Path, within| {
        if let Ok(path) = std::path::absolute(path).and_then(|path| path.canonicalize()) {
            sources.push(Watched { path, within });
        }
    };
    for pipeline in pipelines {
        add(&pipeline.source, false);
        for stage in &pipeline.stages {
            match &stage.module {
                ModuleSource::File(path) => add(path, false),
                ModuleSource::Crate { folder, .. } => {
                    add(&folder.join("src"), true);
                    add(&folder.join("Cargo.toml"), false);
                }
            }
        }
    }
    sources.sort();
    sources.dedup();
    sources
}

/// Reading a file is an event, too, and a build reads all of them.
fn is_change(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)
    )
}

fn concerns(watched: &[Watched], path: &Path) -> bool {
    watched.iter().any(|one| {
        if one.within {
            path.starts_with(&one.path)
        } else {
            path == one.path
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_burst_of_changes_counts_once_it_is_over() {
        let begin = Instant::now();
        let mut changes = Changes::default();
        assert!(!changes.take_settled(begin));
        changes.note(begin);
        changes.note(begin + SETTLE / 2);
        assert!(!changes.take_settled(begin + SETTLE));
        assert!(changes.take_settled(begin + SETTLE * 2));
        assert!(!changes.take_settled(begin + SETTLE * 3));
    }

    #[test]
    fn files_beside_those_that_count_do_not() {
        let watched = [
            Watched {
                path: "/p/a.yaml".into(),
                within: false,
            },
            Watched {
                path: "/c/src".into(),
                within: true,
            },
        ];
        assert!(concerns(&watched, Path::new("/p/a.yaml")));
        assert!(concerns(&watched, Path::new("/c/src/deep/lib.rs")));
        assert!(!concerns(&watched, Path::new("/p/b.yaml")));
        assert!(!concerns(&watched, Path::new("/c/target/x")));
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let file = folder.join("a.yaml");
        std::fs::write(&file, "a").unwrap();
        let (sender, receiver) = mpsc::channel();
        let files = vec![Watched {
            path: file.clone(),
            within: false,
        }];
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let event = event.unwrap();
            if is_change(event.kind) && event.paths.iter().any(|path| concerns(&files, path)) {
                sender.send(()).unwrap_or_default();
            }
        })
        .unwrap();
        watcher.watch(&folder, RecursiveMode::NonRecursive).unwrap();
        std::fs::write(folder.join("other"), "x").unwrap();
        std::fs::write(folder.join("new"), "b").unwrap();
        std::fs::rename(folder.join("new"), &file).unwrap();
        receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
