//! What the tensors of a file are to a decoder, by their names.

use std::fmt::Debug;

/// Beginnings of what is nothing of the VAE itself: of training, of another way to compute, and the
/// tensor that marks a file whose fp8 weights have scales.
const OTHER: [&str; 3] = ["loss.", "model_ema", "scaled_fp8"];

/// What the names of a file follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As diffusers names modules.
    Diffusers,
    /// As in the code that models of the family were published with: whose.
    Original(&'static str),
}

/// How a family reads the names of one file, which are without the VAE's prefix.
pub(crate) trait Names: Debug + Send + Sync {
    fn naming(&self) -> Naming;

    /// What the tensor called `name` is.
    fn part(&self, name: &str) -> Part;

    /// The extents that diffusers gives to the weight of this canonical name, where a file may have it
    /// in others with the same elements in the same order.
    fn shape(&self, _canonical: &str, shape: Vec<usize>) -> Vec<usize> {
        shape
    }
}

/// What a tensor is to a VAE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A weight of the decoder, under its canonical name: the one of diffusers, its own where it has
    /// none.
    Decoder(String),
    /// Of the encoder.
    Encoder,
    /// Nothing that is known, outside the decoder.
    Unknown,
}

/// What a tensor is to a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A weight of the decoder, under its canonical name.
    Decoder(String),
    /// What the decoder's weight of that canonical name is to be multiplied by.
    Scale(String),
    /// Of the encoder, of training, of another way to compute, or of another model in the same
    /// file.
    Other,
    /// Nothing that is known, outside the decoder.
    Unknown,
}

/// How the names of one file are to be read.
#[derive(Debug)]
pub(crate) struct Keys {
    /// What precedes every name of the VAE, or nothing. Letters, digits and `._-` only.
    pub(crate) prefix: String,
    pub(crate) names: Box<dyn Names>,
}

impl Keys {
    /// What the tensor called `name` is.
    pub(crate) fn role(&self, name: &str) -> Role {
        let Some(name) = name.strip_prefix(&self.prefix) else { return Role::Other };
        if OTHER.iter().any(|start| name.starts_with(start)) {
            return Role::Other;
        }
        match name.rsplit_once('.') {
            Some((module, "scale_weight" | "weight_scale")) => {
                self.role_of(&format!("{module}.weight"), Role::Scale)
            }
            // Scales of the input serve fp8 arithmetic; the format says what the types say as well.
            Some((_, "scale_input" | "input_scale" | "comfy_quant")) => {
                self.role_of(name, |_| Role::Other)
            }
            _ => self.role_of(name, Role::Decoder),
        }
    }

    fn role_of(&self, name: &str, in_decoder: impl FnOnce(String) -> Role) -> Role {
        match self.names.part(name) {
            Part::Decoder(canonical) => in_decoder(canonical),
            Part::Encoder => Role::Other,
            Part::Unknown => Role::Unknown,
        }
    }
}

/// `12.rest` as (12, `rest`). Only the digits of a number as it is printed: no sign, no zero ahead.
pub(crate) fn split_index(name: &str) -> Option<(u32, &str)> {
    let (digits, rest) = name.split_once('.')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if !plain {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of which none is changed.
    #[derive(Debug)]
    struct Plain;

    impl Names for Plain {
        fn naming(&self) -> Naming {
            Naming::Diffusers
        }

        fn part(&self, name: &str) -> Part {
            match name.split('.').next() {
                Some("decoder") => Part::Decoder(name.into()),
                Some("encoder") => Part::Encoder,
                _ => Part::Unknown,
            }
        }
    }

    fn under(prefix: &str) -> Keys {
        Keys { prefix: prefix.into(), names: Box::new(Plain) }
    }

    #[test]
    fn what_is_under_another_prefix_is_another_models() {
        let keys = under("vae.");
        assert_eq!(keys.role("first_stage_model.decoder.x"), Role::Other);
        assert_eq!(keys.role("model.diffusion_model.x"), Role::Other);
        assert_eq!(keys.role("vae.decoder.x"), Role::Decoder("decoder.x".into()));
        assert_eq!(keys.role("vae.odd"), Role::Unknown);
        assert_eq!(keys.role("vae.encoder.x"), Role::Other);
    }

    #[test]
    fn scales_belong_to_weights() {
        for prefix in ["", "vae."] {
            let keys = under(prefix);
            let role = |name: &str| keys.role(&format!("{prefix}{name}"));
            for suffix in ["scale_weight", "weight_scale"] {
                let scale = Role::Scale("decoder.x.weight".into());
                assert_eq!(role(&format!("decoder.x.{suffix}")), scale);
                assert_eq!(role(&format!("encoder.x.{suffix}")), Role::Other);
                assert_eq!(role(&format!("odd.{suffix}")), Role::Unknown);
            }
            for suffix in ["scale_input", "input_scale", "comfy_quant"] {
                assert_eq!(role(&format!("decoder.x.{suffix}")), Role::Other);
                assert_eq!(role(&format!("odd.{suffix}")), Role::Unknown);
            }
        }
    }

    #[test]
    fn what_a_training_leaves_behind_is_known() {
        for name in ["loss.logvar", "model_ema.decay", "scaled_fp8", "encoder.x"] {
            assert_eq!(under("").role(name), Role::Other, "{name}");
        }
        for name in ["epoch", "logvar", "discriminator.main.0.weight"] {
            assert_eq!(under("").role(name), Role::Unknown, "{name}");
        }
    }

    #[test]
    fn an_index_is_a_number_as_it_is_printed() {
        assert_eq!(split_index("12.x.1"), Some((12, "x.1")));
        assert_eq!(split_index("0.x"), Some((0, "x")));
        for odd in ["01.x", "+1.x", "-1.x", ".x", "1x.x", "99999999999.x", "1"] {
            assert_eq!(split_index(odd), None, "{odd}");
        }
    }
}
