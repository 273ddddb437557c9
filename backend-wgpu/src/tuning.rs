//! Which of several ways is the fastest on an adapter.

use crate::device::Precision;
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

/// Transforms that keep enough bits, the one that saves more first.
pub(crate) fn transforms(precision: Precision) -> &'static [Transform] {
    match precision {
        Precision::F32 => &[Transform::F4, Transform::F2],
        Precision::F16 => &[Transform::F2],
    }
}

impl Tuning {
    /// A good guess, for tests and where nothing was measured. `lanes` are the invocations of every
    /// subgroup, if all have the same number.
    pub(crate) fn guess(is_software: bool, lanes: Option<u32>, precision: Precision) -> Self {
        let transform = transforms(precision)[0];
        let (tile, winograd) = match (is_software, lanes) {
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
        }
    }

    /// Invocations of a workgroup.
    pub(crate) fn group(self) -> u32 {
        match self {
            Tile::Alone { group, .. } => group,
            Tile::Lanes { lanes, .. } => lanes,
            Tile::Shared { .. } => 256,
        }
    }

    /// Rows and fours of columns of a workgroup.
    pub(crate) fn extents(self) -> [u32; 2] {
        let [rows, columns] = self.registers();
        match self {
            Tile::Alone { .. } | Tile::Lanes { .. } => [self.group() * rows, columns],
            Tile::Shared { .. } => [16 * rows, 16 * columns],
        }
    }
}

impl std::fmt::Display for Tuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.tile {
            Tile::Alone { .. } => "alone",
            Tile::Lanes { .. } => "lanes",
            Tile::Shared { .. } => "shared",
        };
        let ([rows, columns], group) = (self.tile.registers(), self.tile.group());
        let (outputs, channels) = (self.transform.outputs(), self.winograd);
        write!(f, "{kind} {rows} {columns} {group} winograd {outputs} {channels}")
    }
}

impl Tuning {
    /// What [`Display`](std::fmt::Display) wrote, if it is one that kernels can be made for on an
    /// adapter with so many invocations in every subgroup.
    pub(crate) fn parse(text: &str, lanes: Option<u32>, precision: Precision) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, rows, columns, group, "winograd", outputs, winograd] = words[..] else {
            return None;
        };
        let [rows, columns, group] = [rows, columns, group].map(|word| word.parse::<u32>().ok());
        let (rows, columns, group) = (rows?, columns?, group?);
        let tile = match kind {
            "alone" => Tile::Alone { rows, columns, group },
            "lanes" => Tile::Lanes { rows, columns, lanes: group },
            "shared" => Tile::Shared { rows, columns },
            _ => return None,
        };
        let fits = match tile {
            Tile::Alone { .. } => rows <= 32 && columns <= 16 && matches!(group, 8 | 64),
            Tile::Lanes { .. } => rows <= 32 && columns <= 16 && lanes == Some(group),
            // Both sides of a shared tile have to fit into 16 KiB.
            Tile::Shared { .. } => rows + 4 * columns <= 16,
        };
        let outputs: usize = outputs.parse().ok()?;
        let mut possible = transforms(precision).iter();
        let transform = *possible.find(|transform| transform.outputs() == outputs)?;
        let possible = rows > 0 && columns > 0 && fits;
        possible.then(|| Some(Self { tile, transform, winograd: winograd.parse().ok()? })).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for tile in [
            Tile::Alone { rows: 4, columns: 16, group: 8 },
            Tile::Lanes { rows: 8, columns: 8, lanes: 8 },
            Tile::Shared { rows: 8, columns: 2 },
        ] {
            for transform in [Transform::F2, Transform::F4] {
                let tuning = Tuning { tile, transform, winograd: 128 };
                let read = Tuning::parse(&tuning.to_string(), Some(8), Precision::F32);
                assert_eq!(read, Some(tuning));
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
            assert_eq!(Tuning::parse(damaged, Some(8), Precision::F32), None, "{damaged}");
        }
        let too_coarse = "alone 4 4 8 winograd 4 64";
        assert_eq!(Tuning::parse(too_coarse, None, Precision::F16), None);
    }
}
