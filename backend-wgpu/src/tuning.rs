//! Which of several ways is the fastest on an adapter.

use crate::options::Precision;
use crate::transform::Transform;

/// How a product is cut into register tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tile {
    /// Each invocation reads both sides where they lie. For adapters whose memory is a CPU's.
    Alone {
        /// Rows of an invocation.
        rows: u32,
        /// Fours of columns of an invocation, at most.
        columns: u32,
        /// Invocations of a workgroup.
        group: u32,
    },
    /// The invocations of a subgroup, which is a workgroup, read the right side for each other.
    /// Best where memory is a CPU's.
    Lanes {
        /// Rows of an invocation.
        rows: u32,
        /// Fours of columns of an invocation, at most.
        columns: u32,
        /// Invocations of every subgroup of the adapter.
        lanes: u32,
    },
    /// Four subgroups of 32 multiply 64 x 64 results on matrix units. Best on GPUs that have them, f16
    /// only.
    Matrices,
    /// 16 x 16 invocations share a tile in the memory of their workgroup. Best on GPUs.
    Shared {
        /// Rows of an invocation.
        rows: u32,
        /// Fours of columns of an invocation.
        columns: u32,
    },
}

/// What was found best for an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// The tile of products with many columns.
    pub(crate) tile: Tile,
    /// Winograd's transform of 3x3 convs.
    pub(crate) transform: Transform,
    /// The fewest channels, read and written, from which on it wins.
    pub(crate) winograd: u32,
}

/// What ways are open on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) is_software: bool,
    pub(crate) precision: Precision,
    /// Invocations of every subgroup, if all have the same number.
    pub(crate) lanes: Option<u32>,
    /// Whether subgroups of 32 multiply matrices of 16 x 16, f16 to f32.
    pub(crate) matrices: bool,
}

impl Abilities {
    /// Transforms that keep enough bits, the one that saves more first.
    pub(crate) fn transforms(self) -> &'static [Transform] {
        match self.precision {
            Precision::F32 => &[Transform::F4, Transform::F2],
            Precision::F16 => &[Transform::F2],
        }
    }
}

impl Tuning {
    /// A good guess, for tests and where nothing was measured.
    pub(crate) fn guess(abilities: Abilities) -> Self {
        let transform = abilities.transforms()[0];
        let (tile, winograd) = match (abilities.is_software, abilities.lanes) {
            (true, Some(lanes)) => (Tile::Lanes { rows: 4, columns: 8, lanes }, 32),
            (true, None) => (Tile::Alone { rows: 4, columns: 8, group: 8 }, 64),
            (false, _) => (Tile::Shared { rows: 8, columns: 2 }, 128),
        };
        Self { tile, transform, winograd }
    }
}

impl Tile {
    /// Rows and fours of columns of an invocation.
    pub(crate) fn registers(self) -> [u32; 2] {
        match self {
            Tile::Alone { rows, columns, .. }
            | Tile::Lanes { rows, columns, .. }
            | Tile::Shared { rows, columns } => [rows, columns],
            // While results are written.
            Tile::Matrices => [1, 2],
        }
    }

    /// Invocations of a workgroup.
    pub(crate) fn group(self) -> u32 {
        match self {
            Tile::Alone { group, .. } => group,
            Tile::Lanes { lanes, .. } => lanes,
            Tile::Matrices => 128,
            Tile::Shared { .. } => 256,
        }
    }

    /// Rows and fours of columns of a workgroup.
    pub(crate) fn extents(self) -> [u32; 2] {
        let [rows, columns] = self.registers();
        match self {
            Tile::Alone { .. } | Tile::Lanes { .. } => [self.group() * rows, columns],
            Tile::Matrices => [64, 16],
            Tile::Shared { .. } => [16 * rows, 16 * columns],
        }
    }
}

impl std::fmt::Display for Tuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.tile {
            Tile::Alone { .. } => "alone",
            Tile::Lanes { .. } => "lanes",
            Tile::Matrices => "matrices",
            Tile::Shared { .. } => "shared",
        };
        let ([rows, columns], group) = (self.tile.registers(), self.tile.group());
        let (outputs, channels) = (self.transform.outputs(), self.winograd);
        write!(f, "{kind} {rows} {columns} {group} winograd {outputs} {channels}")
    }
}

impl Tuning {
    /// What [`Display`](std::fmt::Display) wrote, if it is one that kernels can be made for.
    pub(crate) fn parse(text: &str, abilities: Abilities) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, rows, columns, group, "winograd", outputs, winograd] = words[..] else {
            return None;
        };
        let [rows, columns, group] = [rows, columns, group].map(|word| word.parse::<u32>().ok());
        let (rows, columns, group) = (rows?, columns?, group?);
        let tile = match kind {
            "alone" => Tile::Alone { rows, columns, group },
            "lanes" => Tile::Lanes { rows, columns, lanes: group },
            "matrices" => Tile::Matrices,
            "shared" => Tile::Shared { rows, columns },
            _ => return None,
        };
        let fits = match tile {
            Tile::Alone { .. } => rows <= 32 && columns <= 16 && matches!(group, 8 | 64),
            Tile::Lanes { .. } => rows <= 32 && columns <= 16 && abilities.lanes == Some(group),
            Tile::Matrices => abilities.matrices,
            // Both sides of a shared tile have to fit into 16 KiB.
            Tile::Shared { .. } => rows + 4 * columns <= 16,
        };
        let outputs: usize = outputs.parse().ok()?;
        let mut possible = abilities.transforms().iter();
        let transform = *possible.find(|transform| transform.outputs() == outputs)?;
        let possible = rows > 0 && columns > 0 && fits;
        possible.then(|| Some(Self { tile, transform, winograd: winograd.parse().ok()? })).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities =
        Abilities { is_software: false, precision: Precision::F32, lanes: Some(8), matrices: true };

    #[test]
    fn written_and_read() {
        for tile in [
            Tile::Alone { rows: 4, columns: 16, group: 8 },
            Tile::Lanes { rows: 8, columns: 8, lanes: 8 },
            Tile::Matrices,
            Tile::Shared { rows: 8, columns: 2 },
        ] {
            for transform in [Transform::F2, Transform::F4] {
                let tuning = Tuning { tile, transform, winograd: 128 };
                assert_eq!(Tuning::parse(&tuning.to_string(), ALL), Some(tuning));
            }
        }
        for damaged in [
            "",
            "alone 4",
            "alone 0 4 8 winograd 2 1",
            "other 4 4 8 winograd 2 1",
            "alone 4 4 8 winograd 2 x",
            "alone 4 4 8 winograd 3 64",
            "lanes 4 4 32 winograd 4 64",
        ] {
            assert_eq!(Tuning::parse(damaged, ALL), None, "{damaged}");
        }
        let f16 = Abilities { precision: Precision::F16, lanes: None, matrices: false, ..ALL };
        for impossible in [
            "alone 4 4 8 winograd 4 64",
            "lanes 4 4 8 winograd 2 64",
            "matrices 1 2 128 winograd 2 64",
        ] {
            assert_eq!(Tuning::parse(impossible, f16), None, "{impossible}");
        }
    }
}
