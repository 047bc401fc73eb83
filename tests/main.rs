//! The proof, one file per subject. `support/` is what they share.

use ::support;

mod end_to_end;
mod tidy;
