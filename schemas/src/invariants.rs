//! The numbered laws. Code, assertions and tests cite them by name.

/// 1. For every measure, `fold(a ++ b) = merge(fold(a), fold(b))`; merge is associative and
///    commutative, the empty state is its identity.
pub const FOLD: &str = "fold";

/// 2. An answer with watershed `W` and live offsets `L` contains every record below `L` exactly
///    once: those below `W` from the version, those in `[W, L)` from the epoch.
pub const COVER: &str = "cover";

/// 3. A version becomes visible with one put-if-absent of one manifest, or not at all.
pub const ONE_PUBLICATION: &str = "one publication";

/// 4. A record becomes an event or a dead letter; a hole in the log stops a run or is written down.
pub const NOTHING_VANISHES: &str = "nothing vanishes";

/// 5. Folding the same offsets again from the same state gives the same bytes.
pub const REPLAY: &str = "replay";

/// 6. A view is written once; both layers evaluate the same compiled expressions.
pub const ONE_DEFINITION: &str = "one definition";
