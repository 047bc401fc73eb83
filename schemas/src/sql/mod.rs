//! SQL text to streams and views, with every mistake at its position.

use crate::problem::Problem;
use crate::project::{Project, SourceFile};

pub fn parse(_schemas: &[SourceFile], _jobs: &[SourceFile]) -> Result<Project, Vec<Problem>> {
    todo!()
}
