//! A plan: from flags to the planner, and what comes of it as text, data or a drawing.

pub(crate) mod estimates;
pub(crate) mod json;
pub(crate) mod options;
pub(crate) mod sizes;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod tiles;
pub(crate) mod time;
