//! Shapes of weights, from which a config is inferred.

use std::collections::BTreeMap;

use super::tensors::Stored;
use crate::files::text;

/// A decoder's weights by canonical name.
#[derive(Clone, Copy)]
pub(crate) struct Shapes<'a>(pub(crate) &'a BTreeMap<String, Stored>);

/// Channels of a conv.
pub(crate) struct ConvChannels {
    pub(crate) outputs: u32,
    pub(crate) inputs: u32,
}

impl Shapes<'_> {
    /// Whether there is a weight of that name.
    pub(crate) fn has(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Channels of a conv over height and width.
    ///
    /// # Errors
    /// That it is missing, or what it is instead, as the end of a sentence.
    pub(crate) fn conv2d(self, name: &str) -> Result<ConvChannels, String> {
        self.conv(name, 2)
    }

    /// Channels of a conv over time, height and width.
    ///
    /// # Errors
    /// As [`conv2d`](Self::conv2d).
    pub(crate) fn conv3d(self, name: &str) -> Result<ConvChannels, String> {
        self.conv(name, 3)
    }

    fn conv(self, name: &str, axes: usize) -> Result<ConvChannels, String> {
        let stored = self.0.get(name).ok_or_else(|| format!("`{name}` is missing"))?;
        let odd = || {
            let found = text::shape(&stored.shape);
            format!("`{name}` is {found}, expected the weights of a {axes}-d conv")
        };
        let &[outputs, inputs, ref kernel @ ..] = stored.shape.as_slice() else {
            return Err(odd());
        };
        if kernel.len() != axes {
            return Err(odd());
        }
        let [outputs, inputs] = [outputs, inputs].map(u32::try_from);
        Ok(ConvChannels {
            outputs: outputs.map_err(|_| odd())?,
            inputs: inputs.map_err(|_| odd())?,
        })
    }
}
