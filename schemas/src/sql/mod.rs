//! SQL text to streams and views, with every mistake at its position.
//!
//! Data goes: file → statements (`source`) → streams (`table`), then views (`view`, with `window` and `aggregate`
//! for their selected items). A mistake ends the statement it is in, never the reading: all of them are reported.

mod aggregate;
pub(crate) mod condition;
mod depth;
mod hash;
mod names;
mod options;
mod source;
mod table;
mod view;
mod window;

use std::sync::Arc;

use sqlparser::ast::{Spanned, Statement};
use sqlparser::tokenizer::{Location, Span};

use self::table::Outline;

use crate::expr::Fault;
use crate::problem::{Position, Problem, ProblemKind};
use crate::project::{Defaults, Project, SourceFile};
use crate::stream::Stream;
use crate::view::View;

pub fn parse(
    schemas: &[SourceFile],
    jobs: &[SourceFile],
    defaults: &Defaults,
) -> Result<Project, Vec<Problem>> {
    let (streams, broken, mut problems) = streams(schemas, defaults);
    let (views, more) = views(jobs, &view::Streams { known: &streams, broken: &broken });
    problems.extend(more);
    if problems.is_empty() { Ok(Project { streams, views }) } else { Err(problems) }
}

/// The one view that a text defines over a stream, if it is right.
pub(crate) fn alone(stream: &Arc<Stream>, sql: &str) -> Option<View> {
    let file = SourceFile { path: String::new(), text: sql.to_string() };
    let known = std::slice::from_ref(stream);
    let (views, problems) = views(std::slice::from_ref(&file), &view::Streams { known, broken: &[] });
    let [view] = views.as_slice() else { return None };
    problems.is_empty().then(|| View::clone(view))
}

/// The streams, and outlines of those that have mistakes: what reads such a one is checked as far as that goes, and not
/// blamed for the rest.
fn streams(schemas: &[SourceFile], defaults: &Defaults) -> (Vec<Arc<Stream>>, Vec<Outline>, Vec<Problem>) {
    let (mut streams, mut broken, mut problems) = (Vec::<Arc<Stream>>::new(), Vec::new(), Vec::new());
    for file in schemas {
        let mut report = Report::of(file);
        for written in source::statements(file, &mut report) {
            let Statement::CreateTable(create) = &written.statement else {
                report.at(written.start, "expected CREATE TABLE in a schema file; views belong in jobs/");
                continue;
            };
            match table::stream(create, written.start, defaults, &mut report) {
                Ok(stream) if streams.iter().any(|known| known.name.eq_ignore_ascii_case(&stream.name)) => {
                    report.at(create.name.span().start, format!("stream {} is defined twice", stream.name));
                }
                Ok(stream) => streams.push(Arc::new(stream)),
                Err(outline) => broken.push(outline),
            }
        }
        let unread = std::mem::take(&mut report.unread);
        broken.extend(unread.into_iter().map(|(name, mistake)| Outline::unread(name, mistake)));
        problems.extend(report.sorted());
    }
    (streams, broken, problems)
}

fn views(jobs: &[SourceFile], streams: &view::Streams<'_>) -> (Vec<Arc<View>>, Vec<Problem>) {
    let (mut views, mut problems) = (Vec::<Arc<View>>::new(), Vec::new());
    for file in jobs {
        let mut report = Report::of(file);
        for written in source::statements(file, &mut report) {
            let Statement::CreateView(create) = &written.statement else {
                report.at(
                    written.start,
                    "expected CREATE MATERIALIZED VIEW in a job file; streams belong in schemas/",
                );
                continue;
            };
            match view::view(create, &written, streams, &mut report) {
                Some(view) if views.iter().any(|known| known.name.eq_ignore_ascii_case(&view.name)) => {
                    report.at(create.name.span().start, format!("view {} is defined twice", view.name));
                }
                Some(view) => views.push(Arc::new(view)),
                None => {}
            }
        }
        problems.extend(report.sorted());
    }
    (views, problems)
}

/// The problems of one file.
struct Report<'a> {
    file: &'a SourceFile,
    problems: Vec<Problem>,
    /// Names in statements that could not be parsed at all, each with the place of the mistake.
    unread: Vec<(String, Position)>,
}

impl<'a> Report<'a> {
    fn of(file: &'a SourceFile) -> Self {
        Report { file, problems: Vec::new(), unread: Vec::new() }
    }

    fn at(&mut self, place: Location, message: impl Into<String>) {
        self.push(place, message.into(), None);
    }

    fn fault(&mut self, fault: Fault) {
        self.push(fault.span.start, fault.message, fault.did_you_mean);
    }

    /// Says what is left unchecked at a place, and why.
    fn unchecked(&mut self, place: Location, message: String) {
        let (kind, position) = (ProblemKind::Unchecked, self.position(place));
        self.problems.push(Problem { kind, position, message, did_you_mean: None });
    }

    fn push(&mut self, place: Location, message: String, did_you_mean: Option<String>) {
        let (kind, position) = (ProblemKind::Mistake, self.position(place));
        self.problems.push(Problem { kind, position, message, did_you_mean });
    }

    fn position(&self, place: Location) -> Position {
        Position { file: self.file.path.clone(), line: place.line.max(1), column: place.column.max(1) }
    }

    /// Where the first mistake of those after the first `before` lies.
    fn first_since(&self, before: usize) -> Option<Position> {
        self.problems[before..].iter().map(|problem| &problem.position).min().cloned()
    }

    /// The value, or `None` and a problem.
    fn keep<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault(fault)).ok()
    }

    fn sorted(mut self) -> Vec<Problem> {
        self.problems.sort_by(|left, right| left.position.cmp(&right.position));
        self.problems.dedup();
        self.problems
    }
}

/// `span`, or `otherwise` where sqlparser knows no place.
fn placed(span: Span, otherwise: Location) -> Span {
    if span.start.line == 0 { Span::new(otherwise, otherwise) } else { span }
}
