//! What can go wrong.

/// An error of a kernel: a wrong size, or memory that was not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice or a setting has another size than the shapes demand.
    Size {
        /// What was measured.
        what: &'static str,
        /// What the shapes demand.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A shape that no output can be made of.
    Shape {
        /// What is wrong with it, and what would be right.
        reason: &'static str,
    },
    /// The allocator refused.
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// The halo of a part did not come.
    Halo,
    /// The machine lacks the instructions of the level that was asked for.
    Level {
        /// The level's name.
        level: &'static str,
    },
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Size { what, expected, found } => {
                write!(f, "{what}: expected {expected} values, found {found}")
            }
            Self::Shape { reason } => f.write_str(reason),
            Self::Halo => f.write_str("the halo did not come"),
            Self::OutOfMemory { bytes } => write!(
                f,
                "could not allocate {bytes} bytes; decode in smaller tiles or free memory"
            ),
            Self::Level { level } => write!(
                f,
                "this machine has no {level} instructions; use Level::detect() to choose the level"
            ),
        }
    }
}

impl std::error::Error for KernelError {}

pub(crate) fn check(what: &'static str, expected: usize, found: usize) -> Result<(), KernelError> {
    if expected == found { Ok(()) } else { Err(KernelError::Size { what, expected, found }) }
}
