//! Latents of the pipelines that share FLUX.2's VAE.

use std::path::PathBuf;

use halovae_tests::compare::assert_f32_close;
use halovae_tests::disk::{RawFile, RawTensor, copy_checkpoint};
use halovae_tests::{npy, tensors};

use crate::Setup;

/// Latents as FLUX.2's pipelines and ComfyUI have them make the picture of those that the VAE takes.
#[test]
fn latents_of_flux2_make_the_picture_of_its_vaes() {
    const PIPELINE: &str = "--latent-space pipeline";
    const SIDES: &str = "--latent-space pipeline --height 40 --width 56";
    let setup = Setup::new("flux2");
    let file = RawFile::read(&setup.golden.latents_file());
    let write = |name: &str, tensors: &[(&str, RawTensor)]| setup.write(name, tensors);
    let of = |name: &str| file.tensors[name].clone();
    let plain = write("plain.safetensors", &[("latents", of("latents"))]);
    let (expected, _) = setup.picture(&plain, "");

    let tokens = write("tokens.safetensors", &[("latents", of("tokens"))]);
    let in_place = write("in-place.safetensors", &[("latents", of("in_place"))]);
    let version = RawTensor::f32(&[0], &[]);
    let comfys = [("latent_tensor", of("in_place")), ("latent_format_version_0", version)];
    let comfys = write("comfy.latent", &comfys);
    let mut first = None;
    for (latents, flags) in
        [(&tokens, SIDES), (&in_place, PIPELINE), (&comfys, ""), (&comfys, PIPELINE)]
    {
        let (got, _) = setup.picture(latents, flags);
        // diffusers rounds deviations in another way.
        let (values, shape) = npy::read(&got);
        let shape: [usize; 4] = shape.try_into().expect("NCHW");
        let what = format!("{} {flags}", latents.display());
        let picture = tensors::channels_last(&values, shape);
        assert_f32_close(&what, &picture, setup.golden.expected("whole"));
        let first = first.get_or_insert_with(|| got.clone());
        assert!(got == *first, "{what}: another picture");
    }
    for latents in [&tokens, &in_place] {
        setup.refused(latents, "", &["packed for a transformer", "--latent-space pipeline"]);
    }
    setup.refused(&in_place, SIDES, &["leave --height"]);

    // Unpacked ones may be klein's, whose pipelines undo the normalization, or FIBO 2's.
    let words =
        ["[1, 8, 10, 14], unpacked", "klein", "FIBO 2", "leave --latent-space pipeline out"];
    setup.refused(&plain, PIPELINE, &words);
    let (_, folder) = setup.in_pipeline("Flux2KleinPipeline");
    let klein = Setup { vae: folder, ..setup };
    assert!(klein.picture(&plain, PIPELINE).0 == expected, "klein: another picture");
}

/// What each pipeline packs, or leaves where it lies in the picture, or unpacks, are the same latents.
#[test]
fn every_pipeline_with_the_vae_of_flux2() {
    const PIPELINE: &str = "--latent-space pipeline";
    const SIDES: &str = "--latent-space pipeline --height 40 --width 56";
    let mut setup = Setup::new("flux2");
    let file = RawFile::read(&setup.golden.latents_file());
    let of = |name: &str| file.tensors[name].clone();
    let tokens = setup.write("tokens.safetensors", &[("latents", of("tokens"))]);
    let in_place = setup.write("in-place.safetensors", &[("latents", of("in_place"))]);
    let golden = setup.golden.folder.clone();
    let mut pictures = Vec::new();
    for class in ["Flux2Pipeline", "BriaFibo2Pipeline", "ErnieImagePipeline", "Ideogram4Pipeline"] {
        let (cells, folder) = setup.in_pipeline(class);
        setup.vae = folder;
        let (expected, _) = setup.picture(&tokens, SIDES);
        assert!(setup.picture(&in_place, PIPELINE).0 == expected, "{class}: where they lie");
        let cells = setup.write("cells.safetensors", &[("latents", cells)]);
        assert!(setup.picture(&cells, PIPELINE).0 == expected, "{class}: unpacked");
        pictures.push(expected);
        setup.vae = golden.clone();
    }
    // ERNIE-Image's adds less to the variance, Ideogram 4's has another order within tokens.
    assert!(pictures[1] == pictures[0]);
    assert!(pictures[2] != pictures[0] && pictures[3] != pictures[0] && pictures[3] != pictures[2]);
}

impl Setup {
    /// The golden tokens as the pipeline of that class would have them unpacked, still normalized; and a
    /// folder of such a pipeline.
    fn in_pipeline(&self, class: &str) -> (RawTensor, PathBuf) {
        let folder = self.path(class);
        copy_checkpoint(&self.golden.folder, &folder.join("vae"));
        let index = format!(r#"{{"_class_name": "{class}"}}"#);
        std::fs::write(folder.join("model_index.json"), index).expect("a file");

        let file = RawFile::read(&self.golden.latents_file());
        let in_place = &file.tensors["in_place"];
        let [1, values, rows, columns] = in_place.shape[..] else { panic!("{:?}", in_place.shape) };
        let stored: Vec<f32> = in_place
            .bytes
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes")))
            .collect();
        let channels = values / 4;
        let mut cells = Vec::new();
        for c in 0..channels {
            for y in 0..2 * rows {
                for x in 0..2 * columns {
                    let value = match class {
                        "Ideogram4Pipeline" => (y % 2 * 2 + x % 2) * channels + c,
                        _ => (c * 2 + y % 2) * 2 + x % 2,
                    };
                    cells.push(stored[(value * rows + y / 2) * columns + x / 2]);
                }
            }
        }
        (RawTensor::f32(&[1, channels, 2 * rows, 2 * columns], &cells), folder)
    }
}
