//! Every strategy over image sizes and numbers of ranks: what each would take, as a table, as JSON, as a
//! drawing.

pub(crate) mod json;
mod measure;
pub(crate) mod svg;
pub(crate) mod table;
