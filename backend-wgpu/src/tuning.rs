//! Which of several ways is the fastest on an adapter.

/// How a product is cut into register tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tile {
    /// Each invocation reads both sides where they lie. Best where memory is a CPU's.
    Alone {
        /// Rows of an invocation.
        rows: u32,
        /// Fours of columns of an invocation, at most.
        columns: u32,
        /// Invocations of a workgroup.
        group: u32,
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
    /// The fewest channels, read and written, of a 3x3 conv from which on Winograd wins.
    pub(crate) winograd: u32,
}

impl Tuning {
    /// A good guess, for tests and where nothing was measured.
    pub(crate) fn guess(is_software: bool) -> Self {
        match is_software {
            true => Self { tile: Tile::Alone { rows: 4, columns: 8, group: 8 }, winograd: 64 },
            false => Self { tile: Tile::Shared { rows: 8, columns: 2 }, winograd: 128 },
        }
    }
}

impl Tile {
    /// Rows and fours of columns of an invocation.
    pub(crate) fn registers(self) -> [u32; 2] {
        match self {
            Tile::Alone { rows, columns, .. } | Tile::Shared { rows, columns } => [rows, columns],
        }
    }

    /// Invocations of a workgroup.
    pub(crate) fn group(self) -> u32 {
        match self {
            Tile::Alone { group, .. } => group,
            Tile::Shared { .. } => 256,
        }
    }

    /// Rows and fours of columns of a workgroup.
    pub(crate) fn extents(self) -> [u32; 2] {
        match self {
            Tile::Alone { rows, columns, group } => [group * rows, columns],
            Tile::Shared { rows, columns } => [16 * rows, 16 * columns],
        }
    }
}

impl std::fmt::Display for Tuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.tile {
            Tile::Alone { .. } => "alone",
            Tile::Shared { .. } => "shared",
        };
        let ([rows, columns], group) = (self.tile.registers(), self.tile.group());
        write!(f, "{kind} {rows} {columns} {group} winograd {}", self.winograd)
    }
}

impl Tuning {
    /// What [`Display`](std::fmt::Display) wrote, if it is one that kernels can be made for.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, rows, columns, group, "winograd", winograd] = words[..] else { return None };
        let [rows, columns, group] = [rows, columns, group].map(|word| word.parse::<u32>().ok());
        let (rows, columns, group) = (rows?, columns?, group?);
        let tile = match kind {
            "alone" => Tile::Alone { rows, columns, group },
            "shared" => Tile::Shared { rows, columns },
            _ => return None,
        };
        // Both sides of a shared tile have to fit into 16 KiB.
        let fits = match tile {
            Tile::Alone { .. } => rows <= 32 && columns <= 16 && matches!(group, 8 | 64),
            Tile::Shared { .. } => rows + 4 * columns <= 16,
        };
        let possible = rows > 0 && columns > 0 && fits;
        possible.then(|| Some(Self { tile, winograd: winograd.parse().ok()? })).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for tile in
            [Tile::Alone { rows: 4, columns: 16, group: 8 }, Tile::Shared { rows: 8, columns: 2 }]
        {
            let tuning = Tuning { tile, winograd: 128 };
            assert_eq!(Tuning::parse(&tuning.to_string()), Some(tuning));
        }
        for damaged in [
            "",
            "alone 4",
            "alone 0 4 8 winograd 1",
            "other 4 4 8 winograd 1",
            "alone 4 4 8 winograd x",
        ] {
            assert_eq!(Tuning::parse(damaged), None, "{damaged}");
        }
    }
}
