//! Positions and generations.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A position in the log: 1 for the first commit, then one more for each, 0 for "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The position after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Counts what people asked of one resource: it grows with each change of the
/// wish, never with a worker's report. A report names the generation it acted
/// on, and a stale one is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation of a resource just created.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
