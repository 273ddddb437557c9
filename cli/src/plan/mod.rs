//! A plan as text, data or a drawing.

pub(crate) mod group;
pub(crate) mod json;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod time;
