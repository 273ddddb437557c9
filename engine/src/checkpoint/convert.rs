//! Commands that turn weights which are not read into such that are.

use std::path::{Path, PathBuf};

use super::file_names;
use crate::files::hub;
use crate::files::text::{listed, shell};

/// Python that puts the tensors of all files but the last into the last; it needs torch and
/// safetensors. Files of trainers have the weights under `state_dict`.
const FROM_TORCH: &str = "import sys, torch; from safetensors.torch import save_file; \
    load = lambda f: torch.load(f, map_location='cpu', weights_only=True); \
    save_file({k: v.contiguous().clone() for f in sys.argv[1:-1] for d in [load(f)] \
    for k, v in d.get('state_dict', d).items() if torch.is_tensor(v)}, sys.argv[-1])";

/// Python that has diffusers convert the first folder into the second; it needs flax as well.
const FROM_FLAX: &str = "import sys; from diffusers import AutoencoderKL; \
    AutoencoderKL.from_pretrained(sys.argv[1], from_flax=True).save_pretrained(sys.argv[2])";

/// How a file of `torch.save` becomes one of safetensors: with all other shards, if it is one.
pub(crate) fn from_torch(file: &Path) -> String {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (inputs, whole) = match file_names::shard(name) {
        Some(shard) => {
            (shard.siblings().map(|name| file.with_file_name(name)).collect(), shard.whole())
        }
        None => (vec![file.to_owned()], name.to_owned()),
    };
    from_torch_shards(&inputs, &file.with_file_name(whole))
}

/// How `shards` of `torch.save`, which may be missing, become a file of safetensors that is called
/// after `whole`.
pub(crate) fn from_torch_shards(shards: &[PathBuf], whole: &Path) -> String {
    let missing: Vec<_> = shards.iter().filter(|shard| !shard.exists()).collect();
    let before = match missing.is_empty() {
        true => String::new(),
        false => {
            let missing = listed(missing.iter().map(|shard| format!("`{}`", shard.display())));
            let command = whole.parent().and_then(hub::download);
            let command = command.map(|command| format!(" by {command}")).unwrap_or_default();
            format!("download what is missing of it{command}: {missing}; then ")
        }
    };
    let output = match whole.extension().is_some_and(|ending| ending == "safetensors") {
        true => whole.with_extension("converted.safetensors"),
        false => whole.with_extension("safetensors"),
    };
    let inputs: Vec<String> = shards.iter().map(|shard| shell(shard)).collect();
    let (inputs, output) = (inputs.join(" "), shell(&output));
    format!("{before}convert it: `python3 -c \"{FROM_TORCH}\" {inputs} {output}`")
}

/// The command that converts a folder of Flax to one of diffusers.
pub(crate) fn from_flax(folder: &Path, output: &Path) -> String {
    format!("`python3 -c \"{FROM_FLAX}\" {} {}`", shell(folder), shell(output))
}
