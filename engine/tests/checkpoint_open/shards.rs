//! Shards and their index.

use std::path::Path;

use halovae_engine::checkpoint::{Checkpoint, CheckpointError};
use safetensors::Dtype;
use tempfile::TempDir;

use crate::checkpoint_common::{Model, Tensor, Tensors, assert_holds, serialize, write};

const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";

/// Splits tensors over shards, and gives the index.
fn write_shards(folder: &Path, tensors: &Tensors, names: &[&str]) -> serde_json::Value {
    let mut shards = vec![Tensors::new(); names.len()];
    let mut map = serde_json::Map::new();
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        shards[index % names.len()].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), names[index % names.len()].into());
    }
    for (name, shard) in names.iter().zip(&shards) {
        write(folder, name, serialize(shard));
    }
    serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map})
}

#[test]
fn shards_are_put_together() {
    let model = Model::default();
    for index_name in [INDEX, "diffusion_pytorch_model.safetensors.index.fp16.json"] {
        let folder = TempDir::new().unwrap();
        let names = ["m-00001-of-00003.safetensors", "m-00002-of-00003.safetensors", "sub/m-3.st"];
        let index = write_shards(folder.path(), &model.diffusers(Dtype::F16), &names);
        write(folder.path(), index_name, index.to_string());
        write(folder.path(), "config.json", model.config_json(4));
        assert_holds(&Checkpoint::open(folder.path(), None).unwrap(), &model);
    }
}

#[test]
fn the_index_decides_between_copies_in_two_shards() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    let tensors = model.diffusers(Dtype::F16);
    let index = write_shards(folder.path(), &tensors, &["a.safetensors", "b.safetensors"]);
    write(folder.path(), INDEX, index.to_string());
    // Both shards now hold everything; the values of the wrong copies differ.
    let wrong: Tensors = tensors
        .iter()
        .map(|(name, tensor)| {
            (name.clone(), Tensor { bytes: vec![0; tensor.bytes.len()], ..tensor.clone() })
        })
        .collect();
    for (shard, name) in ["a.safetensors", "b.safetensors"].into_iter().enumerate() {
        let mixed: Tensors = tensors
            .iter()
            .zip(&wrong)
            .enumerate()
            .map(|(index, (right, wrong))| if index % 2 == shard { right } else { wrong })
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect();
        write(folder.path(), name, serialize(&mixed));
    }
    assert_holds(&Checkpoint::open(folder.path(), None).unwrap(), &model);
}

#[test]
fn a_broken_index_is_explained() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    let names = ["a.safetensors", "b.safetensors"];
    let index = write_shards(folder.path(), &model.diffusers(Dtype::F16), &names);
    let assert_refused = |index: &str, expected: &str| {
        write(folder.path(), INDEX, index);
        let error = Checkpoint::open(folder.path(), None).unwrap_err();
        assert!(matches!(error, CheckpointError::Index { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains(INDEX), "{message}");
        assert!(!message.contains('\n'), "{message}");
    };
    assert_refused("{", "it is not JSON");
    assert_refused("[]", "expected an object `weight_map`");
    assert_refused("{\"weight_map\": {}}", "`weight_map` is empty");
    assert_refused("{\"weight_map\": {\"decoder.x\": 3}}", "the shard of \"decoder.x\" is not");
    let swapped = index.to_string().replace("b.safetensors", "a.safetensors");
    assert_refused(&swapped, "lacks decoder.");
    for escape in ["/etc/passwd", "../a.safetensors", "sub/../../a.safetensors", "", "a\\u0000"] {
        let escaping = index.to_string().replace("b.safetensors", escape);
        assert_refused(&escaping, "lies outside the folder");
    }
    let missing = index.to_string().replace("b.safetensors", "c.safetensors");
    assert_refused(&missing, "shard \"c.safetensors\" is missing");
    let many: serde_json::Map<_, _> =
        (0..1025).map(|index| (index.to_string(), index.to_string().into())).collect();
    assert_refused(
        &serde_json::json!({ "weight_map": many }).to_string(),
        "it names 1025 shards, at most 1024",
    );
}
