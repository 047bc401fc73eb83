//! SQL text to streams and views, with every mistake at its position.
//!
//! Data goes: file → statements (`source`) → streams (`table`), then views (`view`, with `window` and `aggregate`
//! for their selected items). A mistake ends the statement it is in, never the reading: all of them are reported.

mod aggregate;
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

use crate::expr::Fault;
use crate::problem::{Position, Problem};
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

/// The streams, and the names of those that have mistakes: what reads such a one is not blamed for it.
fn streams(schemas: &[SourceFile], defaults: &Defaults) -> (Vec<Arc<Stream>>, Vec<String>, Vec<Problem>) {
    let (mut streams, mut broken, mut problems) = (Vec::<Arc<Stream>>::new(), Vec::new(), Vec::new());
    for file in schemas {
        let mut report = Report::of(file);
        for written in source::statements(file, &mut report) {
            let Statement::CreateTable(create) = &written.statement else {
                report.at(written.start, "expected CREATE TABLE in a schema file; views belong in jobs/");
                continue;
            };
            match table::stream(create, written.start, defaults, &mut report) {
                Some(stream) if streams.iter().any(|known| known.name.eq_ignore_ascii_case(&stream.name)) => {
                    report.at(create.name.span().start, format!("stream {} is defined twice", stream.name));
                }
                Some(stream) => streams.push(Arc::new(stream)),
                None => broken.push(create.name.to_string()),
            }
        }
        broken.append(&mut report.unread);
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
    /// Names in statements that could not be parsed at all.
    unread: Vec<String>,
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

    fn push(&mut self, place: Location, message: String, did_you_mean: Option<String>) {
        let (line, column) = (place.line.max(1), place.column.max(1));
        let position = Position { file: self.file.path.clone(), line, column };
        self.problems.push(Problem { position, message, did_you_mean });
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
