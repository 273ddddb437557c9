//! Pixels that lie beside each other in a row: of the image, or of a strip around it.

/// Stored pixels beside each other.
#[derive(Clone, Copy)]
pub(super) struct Beside {
    /// The first column, and the column behind the last.
    pub columns: [isize; 2],
    pub values: *const f32,
    /// Factors of the positions, or null.
    pub factors: *const f32,
}

impl Beside {
    /// No pixels.
    pub(super) const NONE: Self =
        Self { columns: [0; 2], values: std::ptr::null(), factors: std::ptr::null() };
}
