//! What a caller may do and see.

use std::collections::BTreeSet;
use std::sync::Arc;

use watershed_schemas::predicate::Predicate;
use watershed_schemas::project::Project;
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;

use crate::filter::RowFilter;
use crate::rate::Rate;
use crate::verb::Verb;

/// Which views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Views {
    All,
    Only(BTreeSet<String>),
}

/// Verbs, views and the rows of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub verbs: BTreeSet<Verb>,
    pub views: Views,
    pub rows: Option<RowFilter>,
    pub rate: Option<Rate>,
}

/// Why something is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// To this caller it is as if there were none of that name.
    Unknown,
    /// It is there, and not for this caller: the reason.
    Forbidden(String),
}

impl Grant {
    /// What everybody has where nobody is asked for credentials.
    pub fn everything() -> Self {
        Grant { verbs: Verb::ALL.into(), views: Views::All, rows: None, rate: None }
    }

    pub fn may(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// True where views are not told apart, and neither are their rows.
    pub fn is_whole(&self) -> bool {
        self.views == Views::All && self.rows.is_none()
    }

    /// True where this caller may know that the view exists.
    pub fn names(&self, view: &str) -> bool {
        match &self.views {
            Views::All => true,
            Views::Only(views) => views.contains(view),
        }
    }

    /// The predicate that a view's cells must pass; none: all of them are given.
    pub fn cells(&self, view: &View) -> Result<Option<Arc<Predicate>>, Denied> {
        if !self.names(&view.name) {
            return Err(Denied::Unknown);
        }
        let Some(rows) = &self.rows else { return Ok(None) };
        rows.over_view(view).map(Some).map_err(|error| {
            Denied::Forbidden(format!(
                "this key sees rows where {} only, which view {} cannot tell: {error}",
                rows.text(),
                view.name
            ))
        })
    }

    /// The predicate that events must pass to be taken into a stream. A caller of some views only reaches the streams that
    /// these read.
    pub fn events(&self, project: &Project, stream: &Stream) -> Result<Option<Arc<Predicate>>, Denied> {
        if !self.reaches(project, &stream.name) {
            return Err(Denied::Unknown);
        }
        let Some(rows) = &self.rows else { return Ok(None) };
        rows.over_stream(stream).map(Some).map_err(|error| {
            Denied::Forbidden(format!(
                "this key writes events where {} only, which stream {} cannot tell: {error}",
                rows.text(),
                stream.name
            ))
        })
    }

    /// True where this caller may know that the stream exists.
    pub fn reaches(&self, project: &Project, stream: &str) -> bool {
        let views = || project.views.iter().filter(|view| view.stream.name == stream);
        self.views == Views::All || views().any(|view| self.names(&view.name))
    }

    /// The views of a project that this caller sees some of.
    pub fn visible<'a>(&self, project: &'a Project) -> impl Iterator<Item = &'a Arc<View>> {
        project.views.iter().filter(|view| self.cells(view).is_ok())
    }
}
