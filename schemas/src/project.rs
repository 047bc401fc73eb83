//! A project: its streams and views, read from SQL text.

use std::sync::Arc;
use std::time::Duration;

use crate::problem::Problem;
use crate::stream::Stream;
use crate::view::View;

/// A SQL file of a project, as read from disk.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The path as messages shall show it, e.g. `jobs/flight_delays.sql`.
    pub path: String,
    pub text: String,
}

/// What definitions leave open: an installation's settings decide it.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// For streams without `max_future`.
    pub max_future: Duration,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults { max_future: Duration::from_secs(24 * 60 * 60) }
    }
}

/// Everything that a project defines.
#[derive(Clone, Debug, Default)]
pub struct Project {
    pub streams: Vec<Arc<Stream>>,
    pub views: Vec<Arc<View>>,
}

impl Project {
    /// Reads all streams, then all views; on mistakes gives every one of them, in file order.
    pub fn parse(schemas: &[SourceFile], jobs: &[SourceFile]) -> Result<Project, Vec<Problem>> {
        Project::parse_with(schemas, jobs, &Defaults::default())
    }

    /// [`Project::parse`] with an installation's own defaults.
    pub fn parse_with(
        schemas: &[SourceFile],
        jobs: &[SourceFile],
        defaults: &Defaults,
    ) -> Result<Project, Vec<Problem>> {
        crate::sql::parse(schemas, jobs, defaults)
    }

    pub fn stream(&self, name: &str) -> Option<&Arc<Stream>> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    pub fn view(&self, name: &str) -> Option<&Arc<View>> {
        self.views.iter().find(|view| view.name == name)
    }

    /// The views over one stream.
    pub fn views_of(&self, stream: &str) -> Vec<Arc<View>> {
        let views = self.views.iter().filter(|view| view.stream.name == stream);
        views.cloned().collect()
    }
}
