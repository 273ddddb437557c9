//! Names of weights: those of an `AutoencoderKL`, and where FLUX.2's own code has others.

use crate::checkpoint::autoencoder_kl::names::AutoencoderKlNames;
use crate::checkpoint::keys::{Names, Naming, Part};

/// How the names of one file are to be read.
#[derive(Debug)]
pub(super) struct Flux2Names(AutoencoderKlNames);

impl Flux2Names {
    /// Finds out from the names of a file.
    pub(super) fn detect(names: &mut dyn Iterator<Item = &str>) -> Self {
        Self(AutoencoderKlNames::detect(names))
    }
}

impl Names for Flux2Names {
    fn naming(&self) -> Naming {
        self.0.naming()
    }

    fn part(&self, name: &str) -> Part {
        // The conv before the decoder is in the decoder there.
        match name.strip_prefix("decoder.post_quant_conv.") {
            Some(parameter) => Part::Decoder(format!("post_quant_conv.{parameter}")),
            None if name.starts_with("bn.") => Part::Encoder,
            None => self.0.part(name),
        }
    }

    fn shape(&self, canonical: &str, shape: Vec<usize>) -> Vec<usize> {
        self.0.shape(canonical, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_its_own_code_become_those_of_diffusers() {
        let all = ["decoder.up.3.upsample.conv.weight", "decoder.post_quant_conv.weight"];
        let names = Flux2Names::detect(&mut all.iter().copied());
        assert_eq!(names.naming(), Naming::Original("LDM, BFL"));
        for (from, to) in [
            (all[0], "decoder.up_blocks.0.upsamplers.0.conv.weight"),
            (all[1], "post_quant_conv.weight"),
            ("decoder.mid.attn_1.q.bias", "decoder.mid_block.attentions.0.to_q.bias"),
        ] {
            assert_eq!(names.part(from), Part::Decoder(to.into()));
        }
        for name in ["encoder.quant_conv.bias", "quant_conv.bias", "bn.num_batches_tracked"] {
            assert_eq!(names.part(name), Part::Encoder, "{name}");
        }
    }
}
