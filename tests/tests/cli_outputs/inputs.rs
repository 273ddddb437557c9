//! No output lies on a file that is read.

use std::path::Path;

use halovae_tests::disk::{CONFIG, RawFile, WEIGHTS, copy_checkpoint};
use halovae_tests::golden::Golden;
use halovae_tests::{npy, tensors};

use crate::Setup;

/// Splits the weights in two shards with an index, in a folder of their own.
fn shard(from: &Path, to: &Path) {
    let weights = RawFile::read(&from.join(WEIGHTS));
    std::fs::create_dir(to).expect("a folder");
    std::fs::copy(from.join(CONFIG), to.join(CONFIG)).expect("a config");
    let mut shards = [RawFile::default(), RawFile::default()];
    let mut map = serde_json::Map::new();
    for (index, (name, tensor)) in weights.tensors.into_iter().enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", index % 2).into());
        shards[index % 2].tensors.insert(name, tensor);
    }
    for (index, shard) in shards.iter().enumerate() {
        shard.write(&to.join(format!("part-{index}.safetensors")));
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    std::fs::write(to.join(format!("{WEIGHTS}.index.json")), index).expect("an index");
}

#[test]
fn no_command_writes_onto_what_it_reads() {
    let setup = Setup::new("f2-complete");
    shard(&setup.path("vae"), &setup.path("sharded"));
    std::fs::create_dir(setup.path("pipeline")).expect("a folder");
    copy_checkpoint(&setup.path("vae"), &setup.path("pipeline/vae"));
    std::fs::create_dir(setup.path("planned")).expect("a folder");
    for copy in ["planned/config.json", "other.json"] {
        std::fs::copy(setup.path("vae/config.json"), setup.path(copy)).expect("a config");
    }
    copy_checkpoint(&setup.path("vae"), &setup.path("hub/models--o--n/snapshots/0a/vae"));
    let cached = "hub/models--o--config/snapshots/0a";
    std::fs::create_dir_all(setup.path(cached)).expect("folders");
    std::fs::copy(setup.path("vae/config.json"), setup.path(cached).join(CONFIG))
        .expect("a config");
    for model in ["hub/models--o--n", "hub/models--o--config"] {
        std::fs::create_dir(setup.path(model).join("refs")).expect("a folder");
        std::fs::write(setup.path(model).join("refs/main"), "0a").expect("a reference");
    }
    let weights = format!("vae/{WEIGHTS}");
    std::fs::hard_link(setup.path(&weights), setup.path("hard.safetensors")).expect("a link");
    let latents = setup.path("latents.safetensors");
    std::fs::hard_link(&latents, setup.path("hard-latents.safetensors")).expect("a link");
    #[cfg(unix)]
    for (to, link) in [
        (weights.as_str(), "soft.safetensors"),
        ("soft.safetensors", "softer.safetensors"),
        ("vae", "folder"),
        ("latents.safetensors", "picture.npy"),
    ] {
        std::os::unix::fs::symlink(to, setup.path(link)).expect("a link");
    }

    let overwrite = ["would overwrite"];
    let mut outputs = vec![
        ("vae", format!("--output {weights}")),
        ("vae", format!("--output vae/../{weights}")),
        ("vae", "--output hard.safetensors".into()),
        ("vae", "--output latents.safetensors".into()),
        ("vae", "--output hard-latents.safetensors".into()),
        ("pipeline", format!("--output pipeline/vae/{WEIGHTS}")),
        ("pipeline", "--output a.png --report pipeline/vae/config.json".into()),
        ("vae", "--output a.png --report vae/config.json".into()),
        ("vae", format!("--output a.png --report {weights}")),
        ("vae", "--output a.png --report latents.safetensors".into()),
        (weights.as_str(), "--output a.png --report vae/config.json".into()),
        (weights.as_str(), format!("--output {weights}")),
        ("vae", "--config other.json --output a.png --report other.json".into()),
        ("sharded", "--output sharded/part-0.safetensors".into()),
        ("sharded", "--output sharded/part-1.safetensors".into()),
        ("sharded", format!("--output a.png --report sharded/{WEIGHTS}.index.json")),
        ("sharded", "--output a.png --report sharded/config.json".into()),
        ("hub/models--o--n", "--output a.png --report hub/models--o--n/refs/main".into()),
    ];
    if cfg!(unix) {
        outputs.extend([
            ("vae", "--output soft.safetensors".to_owned()),
            ("vae", "--output softer.safetensors".into()),
            ("vae", format!("--output folder/{WEIGHTS}")),
            ("vae", "--output picture.npy".into()),
            ("vae", "--output a.png --report folder/config.json".into()),
            ("folder", format!("--output {weights}")),
        ]);
    }
    for (vae, flags) in &outputs {
        let line = format!("decode --vae {vae} --latents latents.safetensors {flags}");
        setup.assert_refused(&line, &overwrite);
    }

    let size = "--height 64 --width 64";
    for line in [
        format!("plan --vae vae {size} --output vae/config.json"),
        format!("plan --vae vae {size} --output {weights} --format svg"),
        format!("plan --vae vae {size} --output hard.safetensors --format json"),
        format!("plan --vae vae --compare --compare-ranks 1 {size} --output {weights}"),
        format!("plan --vae planned {size} --output planned/config.json"),
        format!("plan --vae vae --config other.json {size} --output other.json"),
        format!("plan --vae planned --config other.json {size} --output other.json"),
        format!("plan --vae planned --config other.json {size} --output planned/config.json"),
        format!("plan --vae hub/models--o--n {size} --output hub/models--o--n/refs/main"),
        format!("plan --vae hub/models--o--config {size} --output hub/models--o--config/refs/main"),
        format!("plan --vae sharded {size} --output sharded/{WEIGHTS}.index.json"),
    ] {
        setup.assert_refused(&line, &overwrite);
    }
    // What is not read may be replaced: the config that another one stands in for, and its neighbours.
    setup.decode("--config other.json --output a.npy --report vae/config.json").expect_success();
    setup.decode("--config other.json --output vae/a.npy").expect_success();
}

/// The names of a batch are what is written, whatever their extension says of them.
#[test]
fn numbered_files_are_held_against_inputs_and_reports() {
    let setup = Setup::new("f4-batch");
    let values = tensors::channels_first(&Golden::load("f4-batch").latents);
    std::fs::write(setup.path("a-1.png"), npy::write(&values.0, &values.1)).expect("latents");
    let line = "decode --vae vae --latents a-1.png --output a.png";
    setup.assert_refused(line, &["would overwrite", "a-1.png"]);
    let same = ["same file", "--report", "--output"];
    setup.assert_decode_refused("--output b.png --report b-1.png", &same);
    setup.assert_decode_refused("--output b.png --report vae/../b-0.png", &same);
    setup.assert_decode_refused("--output b.npy --report ./b.npy", &same);
    #[cfg(unix)]
    {
        std::fs::write(setup.path("one.png"), "one").expect("a file");
        for link in ["c-0.png", "c-1.png"] {
            std::os::unix::fs::symlink("one.png", setup.path(link)).expect("a link");
        }
        setup.assert_decode_refused("--output c.png", &["same file", "c-0.png", "c-1.png"]);
    }
    // The name that is given is not written.
    setup.decode("--output d.png --report d.png").expect_success();
}
