//! `halovae models`: what it prints, and that the README has it.

use std::path::Path;

use halovae_tests::{binary, golden};
use serde_json::Value;

/// Around the table in the README.
const BEGIN: &str = "<!-- halovae models --markdown -->\n";
const END: &str = "<!-- end of halovae models -->\n";

fn models(flags: &[&str]) -> String {
    let mut command = binary::command(["models"]);
    command.args(flags);
    binary::run_command(command).expect_success().stdout
}

fn json() -> Value {
    serde_json::from_str(&models(&["--json"])).expect("JSON")
}

#[test]
fn the_table_in_the_readme_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&file).expect("a README");
    let (_, behind) = readme.split_once(BEGIN).expect("a table of models in the README");
    let (table, _) = behind.split_once(END).expect("an end of that table");
    assert_eq!(
        table.trim(),
        models(&["--markdown"]).trim(),
        "the README's table of models is not current: put what `halovae models --markdown` prints \
         between `{}` and `{}`",
        BEGIN.trim(),
        END.trim()
    );
}

/// Every class of a golden model is listed with what its config says of its latents.
#[test]
fn golden_models_are_listed() {
    let all = json();
    let listed = all["models"].as_array().expect("models");
    for name in golden::images().chain(golden::VIDEOS) {
        let golden = golden::Golden::load(name);
        let config = golden.config();
        let of_class = |model: &&Value| model["class"] == config.class();
        let model = listed.iter().find(of_class).unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(model["streams"], config.is_video(), "{name}");
        assert_eq!(model["strategies"], serde_json::json!(["whole", "tiled", "patch", "sharded"]));
        let latents = &model["latents"];
        assert_eq!(latents["frames_per_latent_frame"].is_null(), !config.is_video(), "{name}");
    }
}

#[test]
fn what_matters_of_latents_is_told() {
    let all = json();
    let of = |models: &str| {
        let found = all["models"].as_array().expect("models").iter();
        let named = |model: &&Value| model["models"].as_str().is_some_and(|m| m.contains(models));
        let model = found.clone().find(named).unwrap_or_else(|| panic!("no {models}"));
        let latents = &model["latents"];
        let values = latents["packing"]["values"].as_u64();
        let numbers = ["channels", "pixels_per_cell"].map(|key| latents[key].as_u64());
        (
            numbers.map(|number| number.expect("a number")),
            latents["frames_per_latent_frame"].as_u64(),
            values,
        )
    };
    assert_eq!(of("SDXL"), ([4, 8], None, None));
    assert_eq!(of("SD 3"), ([16, 8], None, None));
    assert_eq!(of("FLUX.1"), ([16, 8], None, Some(64)));
    assert_eq!(of("FLUX.2"), ([32, 8], None, Some(128)));
    assert_eq!(of("HunyuanImage 2.1"), ([64, 32], None, None));
    assert_eq!(of("Wan 2.1"), ([16, 8], Some(4), None));
    assert_eq!(of("TI2V-5B"), ([48, 16], Some(4), None));
    assert_eq!(of("Krea 2"), ([16, 8], Some(4), Some(64)));
    assert_eq!(of("LTX-2.0"), ([128, 32], Some(8), None));
    assert_eq!(of("LTX-Video 0.9.0"), ([128, 32], Some(8), Some(128)));
    assert_eq!(of("Qwen-Image 2.1"), ([64, 16], None, Some(64)));
    let refused = all["refused"].as_array().expect("classes");
    let class = |class: &str| refused.iter().any(|of| of["class"] == class);
    assert!(class("AutoencoderKLMochi") && class("AutoencoderDC"));
    for model in all["models"].as_array().expect("models") {
        assert!(!class(model["class"].as_str().expect("a class")), "{model}");
    }
}

#[test]
fn people_read_names_and_what_is_asked_of_latents() {
    let table = models(&[]);
    for words in ["Wan 2.2 TI2V-5B", "AutoencoderKLFlux2", "16 x 16 per cell", "CPU, CUDA, wgpu"] {
        assert!(table.contains(words), "no {words} in {table}");
    }
    let mut command = binary::command(["models", "--json", "--markdown"]);
    command.arg("--quiet");
    assert_eq!(binary::run_command(command).status.code(), Some(2));
}
