//! The statistics by which pipelines normalize latents.

/// Tensors with mean and variance of the values of a token.
pub(super) const STATISTICS: [&str; 2] = ["bn.running_mean", "bn.running_var"];

/// Statistics of the values of a token.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Their means.
    pub mean: Vec<f32>,
    /// Their variances.
    pub variance: Vec<f32>,
}

impl BatchNorm {
    /// Standard deviations, with `eps` added to the variances.
    pub(super) fn std(&self, eps: f32) -> Vec<f32> {
        self.variance.iter().map(|variance| (variance + eps).sqrt()).collect()
    }

    /// Checks that they can be those of tokens of so many rows, columns and channels, where `eps` is added
    /// to the variances.
    ///
    /// # Errors
    /// What cannot be, with the name of the tensor, as the end of a sentence.
    pub(super) fn check(&self, token: [u32; 3], eps: f32) -> Result<(), String> {
        let [height, width, channels] = token;
        let expected = token.map(u64::from).iter().product::<u64>();
        let lists = [&self.mean, &self.variance];
        for (name, list) in STATISTICS.into_iter().zip(lists) {
            if list.len() as u64 != expected {
                return Err(format!(
                    "has {} values in `{name}`, and tokens have {expected}: {channels} \
                     (`latent_channels`) of {height} x {width} cells (`patch_size`); give the config that \
                     belongs to the weights",
                    list.len()
                ));
            }
            if let Some(place) = list.iter().position(|value| !value.is_finite()) {
                return Err(format!(
                    "has {} in `{name}`, at {place}, expected finite numbers; the file is damaged",
                    list[place]
                ));
            }
        }
        let [_, name] = STATISTICS;
        if let Some(place) = self.variance.iter().position(|&variance| variance < 0.0) {
            return Err(format!(
                "has {} in `{name}`, at {place}, expected variances, which are never below 0; the file is \
                 damaged",
                self.variance[place]
            ));
        }
        // A variance of 0 is that of a value that never changes; with `eps` it can be divided by.
        match self.std(eps).iter().position(|&std| std == 0.0) {
            Some(place) => Err(format!(
                "has {} in `{name}`, at {place}, and {eps} is added to it (`batch_norm_eps`), expected more \
                 than 0 in all",
                self.variance[place]
            )),
            None => Ok(()),
        }
    }
}
