//! The figures of plans, as tables and drawings show them.

use halovae::plan::Figures;

/// A figure that is a number.
pub(super) struct Measure {
    /// In small letters.
    pub(super) name: &'static str,
    /// What the name means.
    pub(super) about: &'static str,
    pub(super) value: fn(&Figures) -> Option<f64>,
    pub(super) unit: Unit,
    pub(super) shown: Shown,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Ratio,
    Bytes,
    Count,
}

/// Where a figure tells something of its own. Without a decoder work is counted in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    /// Only in tables: in a drawing its line would be close to that of the work.
    InTables,
    /// Without a decoder only in drawings.
    InDrawings,
    /// Only if there is a decoder.
    WithDecoder,
    /// Only in tables, and only if there is a decoder.
    InTablesWithDecoder,
}

impl Measure {
    /// Those of a table.
    pub(super) fn of_tables(has_decoder: bool) -> impl Iterator<Item = &'static Self> {
        MEASURES.iter().filter(move |measure| match measure.shown {
            Shown::Always | Shown::InTables => true,
            Shown::InDrawings | Shown::WithDecoder | Shown::InTablesWithDecoder => has_decoder,
        })
    }

    /// Those of a drawing.
    pub(super) fn of_drawings(has_decoder: bool) -> impl Iterator<Item = &'static Self> {
        MEASURES.iter().filter(move |measure| match measure.shown {
            Shown::Always | Shown::InDrawings => true,
            Shown::InTables | Shown::InTablesWithDecoder => false,
            Shown::WithDecoder => has_decoder,
        })
    }
}

const MEASURES: [Measure; 8] = [
    Measure {
        name: "cells",
        about: "latent cells that go through the VAE, over those that there are",
        value: |figures| Some(figures.redundancy),
        unit: Unit::Ratio,
        shown: Shown::InTables,
    },
    Measure {
        name: "work",
        about: "operations of all ranks, over those of the whole decode",
        value: |figures| Some(figures.work_ratio),
        unit: Unit::Ratio,
        shown: Shown::InDrawings,
    },
    Measure {
        name: "busiest rank",
        about: "work of the rank that has most, over that of the whole decode",
        value: |figures| Some(figures.busiest_ratio),
        unit: Unit::Ratio,
        shown: Shown::Always,
    },
    Measure {
        name: "memory",
        about: "values and workspace of the rank that needs most",
        value: |figures| figures.bytes.map(|bytes| bytes.peak_live as f64),
        unit: Unit::Bytes,
        shown: Shown::WithDecoder,
    },
    Measure {
        name: "exchanged",
        about: "bytes that all ranks exchange while they decode",
        value: |figures| figures.bytes.map(|bytes| bytes.traffic.bytes() as f64),
        unit: Unit::Bytes,
        shown: Shown::WithDecoder,
    },
    Measure {
        name: "collectives",
        about: "number of collective operations",
        value: |figures| figures.bytes.map(|bytes| f64::from(bytes.traffic.collectives())),
        unit: Unit::Count,
        shown: Shown::WithDecoder,
    },
    Measure {
        name: "finished",
        about: "pieces that travel to the rank that stitches",
        value: |figures| figures.bytes.map(|bytes| bytes.finished as f64),
        unit: Unit::Bytes,
        shown: Shown::WithDecoder,
    },
    Measure {
        name: "waiting",
        about: "pieces that wait there, in host memory, until they are written",
        value: |figures| figures.bytes.map(|bytes| bytes.stitching as f64),
        unit: Unit::Bytes,
        shown: Shown::InTablesWithDecoder,
    },
];
