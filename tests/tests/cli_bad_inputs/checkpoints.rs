//! Checkpoints that are not there, and configs that are wrong.

use std::path::Path;

use halovae_tests::disk::WEIGHTS;
use serde_json::{Value, json};

use crate::Setup;

/// The beginning of what `torch.save` writes.
const TORCH_ZIP: &[u8] = b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl";

pub(crate) fn places_of_checkpoints(setup: &mut Setup) {
    setup.vae("no such checkpoint", &["nowhere"], &setup.input("nowhere"));
    let empty = setup.input("empty-folder");
    std::fs::create_dir(&empty).expect("a folder");
    setup.vae("an empty folder", &["empty-folder", "no weights"], &empty);
    let pickled = setup.checkpoint("pickled");
    std::fs::remove_file(pickled.join(WEIGHTS)).expect("a file");
    std::fs::write(pickled.join("diffusion_pytorch_model.bin"), TORCH_ZIP).expect("a file");
    setup.vae("weights in a pickle", &[".bin", "convert it: `python3 -c"], &pickled);
    let pickled = pickled.join("diffusion_pytorch_model.bin");
    setup.vae("a pickle", &["zip archive", "convert it: `python3 -c"], &pickled);
    let latents = setup.golden.latents_file();
    setup.vae("latents for a checkpoint", &["latents.safetensors", "no decoder"], &latents);
    let text = setup.file("readme.md", "# Not a checkpoint\n");
    setup.vae("a text for a checkpoint", &["readme.md"], &text);
    if cfg!(unix) {
        setup.vae("a device for a checkpoint", &["/dev/zero"], Path::new("/dev/zero"));
        setup.vae("a null device for a checkpoint", &["/dev/null"], Path::new("/dev/null"));
    }
}

pub(crate) fn configs(setup: &mut Setup) {
    let text = setup.with_config("config-text", "block_out_channels: [16, 32]");
    setup.vae("a config that is no JSON", &["config.json", "not JSON"], &text);
    let list = setup.with_config("config-list", "[1, 2]");
    setup.vae("a config that is a list", &["config.json", "object"], &list);
    let truncated = setup.with_config("config-truncated", "{\"layers_per_block\": ");
    setup.vae("a truncated config", &["config.json", "not JSON"], &truncated);
    let deep = setup.with_config("config-deep", "[".repeat(200_000));
    setup.vae("a config nested deeply", &["config.json"], &deep);
    let large = setup.with_config("config-large", " ".repeat(2 << 20));
    setup.vae("a config of two megabytes", &["config.json", "bytes"], &large);
    let bytes = setup.with_config("config-bytes", [0xff, 0xfe, 0x00, 0x80]);
    setup.vae("a config of random bytes", &["config.json"], &bytes);

    let pointer = setup.with_config("config-lfs", "version https://git-lfs.github.com/spec/v1\n");
    setup.vae("a pointer for a config", &["config.json", "Git LFS pointer"], &pointer);
    let refusal = setup.with_config("config-refusal", "{\"error\": \"Entry not found\"}");
    setup.vae("a refusal for a config", &["config.json", "Entry not found"], &refusal);

    let mut field = |what, words, field: &str, value: Value| {
        let vae = setup.with_field(&format!("config {what}"), field, value);
        setup.vae(what, words, &vae);
    };
    field(
        "class of video",
        &["AutoencoderKLMochi", "AutoencoderKL"],
        "_class_name",
        json!("AutoencoderKLMochi"),
    );
    field("class of Tiny", &["AutoencoderTiny"], "_class_name", json!("AutoencoderTiny"));
    field(
        "class of a transformer",
        &["FluxTransformer2DModel"],
        "_class_name",
        json!("FluxTransformer2DModel"),
    );
    field("class that is a number", &["class"], "_class_name", json!(7));
    field("no levels", &["block_out_channels"], "block_out_channels", json!([]));
    field("too many levels", &["block_out_channels"], "block_out_channels", json!(vec![16; 40]));
    field(
        "a level without channels",
        &["block_out_channels"],
        "block_out_channels",
        json!([16, 0]),
    );
    field(
        "too many channels",
        &["block_out_channels"],
        "block_out_channels",
        json!([16, 4_294_967_296u64]),
    );
    field("channels as text", &["block_out_channels"], "block_out_channels", json!("16, 32"));
    field("negative layers", &["layers_per_block"], "layers_per_block", json!(-1));
    field("half a layer", &["layers_per_block"], "layers_per_block", json!(0.5));
    field("too many layers", &["layers_per_block"], "layers_per_block", json!(1_000_000_000));
    field("no norm groups", &["norm_num_groups"], "norm_num_groups", json!(0));
    field(
        "groups that do not divide",
        &["norm_num_groups", "divisor"],
        "norm_num_groups",
        json!(7),
    );
    field("no latent channels", &["latent_channels"], "latent_channels", json!(0));
    field("a sample size of 0", &["sample_size"], "sample_size", json!(0));
    field("three sample sizes", &["sample_size"], "sample_size", json!([1, 2, 3]));
    field("an absurd sample size", &["sample_size"], "sample_size", json!(4_000_000_000u64));
    field("another activation", &["act_fn", "relu"], "act_fn", json!("relu"));
    field("scaling by 0", &["scaling_factor"], "scaling_factor", json!(0));
    field("a shift that is text", &["shift_factor"], "shift_factor", json!("0.1"));
    field(
        "other up blocks",
        &["up_block_types", "AttnUpDecoderBlock2D"],
        "up_block_types",
        json!(["AttnUpDecoderBlock2D", "UpDecoderBlock2D"]),
    );
    field("a flag that is a number", &["use_post_quant_conv"], "use_post_quant_conv", json!(1));
    field("a mean for other channels", &["latents_mean"], "latents_mean", json!([0.0, 1.0]));

    // Possible configs, but of another decoder than the weights are.
    field(
        "more layers than weights",
        &["missing", "resnets.2", "config.json"],
        "layers_per_block",
        json!(4),
    );
    field(
        "other channels than weights",
        &["misshapen", "decoder.conv_in.weight"],
        "block_out_channels",
        json!([16, 64]),
    );
    field(
        "other latent channels",
        &["misshapen", "decoder.conv_in.weight"],
        "latent_channels",
        json!(16),
    );
    field(
        "up blocks for other levels",
        &["up_block_types", "3 levels"],
        "block_out_channels",
        json!([16, 32, 32]),
    );
    field(
        "no attention where there is",
        &["unexpected", "attentions"],
        "mid_block_add_attention",
        json!(false),
    );

    let missing = setup.input("no-config.json");
    let flag = format!("--config {}", missing.display());
    setup.decode("a config that is not there", &["no-config.json"], "a.png", &flag);
    setup.of_input();
}
