//! What has a decoder.

use super::{Program, ProgramError};

/// What a VAE is made of, as a config tells it.
pub trait Model {
    /// The decoder as a program of plain ops.
    ///
    /// # Errors
    /// [`ProgramError`] names the first module that cannot exist.
    fn decoder(&self) -> Result<Program, ProgramError>;
}
