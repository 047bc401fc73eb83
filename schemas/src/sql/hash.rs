//! What makes two definitions of a view the same: everything that decides its contents, and nothing else.

use sha2::{Digest, Sha256};

use crate::expr::Scalar;
use crate::view::{View, WindowColumn};

/// Changes when the meaning of a stored definition changes without its text.
const EDITION: u32 = 1;

/// SHA-256 (hex) over the canonical form. Compiled SQL stands for the text: white space, comments,
/// case of keywords and redundant parentheses are gone from it.
pub(super) fn hash(view: &View) -> String {
    let stream = &view.stream;
    let field = |name: &str| {
        stream.field(name).map(|field| (name.to_string(), field.data_type.to_string(), field.not_null))
    };
    let scalar = |scalar: &Scalar| (scalar.data_type.to_string(), scalar.sql.clone());
    let WindowColumn { name, window } = &view.window;
    let canonical = serde_json::json!({
        "edition": EDITION,
        "stream": stream.name,
        "event_time": stream.event_time().name,
        "fields": view.fields_read().into_iter().map(field).collect::<Vec<_>>(),
        "filter": view.filter.as_ref().map(scalar),
        "dimensions": view.dimensions.iter().map(|dimension| (&dimension.name, scalar(&dimension.scalar))).collect::<Vec<_>>(),
        "window": (name, window),
        "measures": view.measures.iter().map(|measure| (
            &measure.name,
            format!("{:?}", measure.aggregate),
            measure.argument.as_ref().map(scalar),
            measure.filter.as_ref().map(scalar),
            measure.result_type.to_string(),
        )).collect::<Vec<_>>(),
    });
    let digest = Sha256::digest(canonical.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
