"""Makes the golden values of the parity tests of Wan's kin and Qwen-Image's, beside those of make_goldens.py.

    pip install torch diffusers safetensors
    python tests/golden/make_wan_goldens.py [--only NAME]

For each model below it writes, beside this script, a folder

    NAME/config.json                          as diffusers saves it
    NAME/diffusion_pytorch_model.safetensors  random weights, decoder only
    NAME/latents.safetensors                  key `latents`, f32, [1, channels, frames, height, width]
    NAME/expected.safetensors                 f32, of what diffusers makes of all frames: `whole`,
                                              `tiled`, and for Wan 2.1 `qwen_tiled` of its weights in an
                                              AutoencoderKLQwenImage, which does not clamp there;
                                              of the first PATCHED frames of latents `patch2` and
                                              `patch6` (see `patches`), whose least halo is half of
                                              what tiles share, the class's own or `patch_tiles`
    NAME/pipeline.safetensors                 of Qwen-Image 2.1, key `tokens`: what its pipeline would have
                                              given for these latents, normalized and packed

Of each result only every STEP-th row and column is kept, `[frames, channels, rows, columns]`, and under
`NAME.sums` the sum over all pixels of each frame and channel. A decode of fewer frames of latents gives
the first frames of these, which the script checks.

Weights are rounded to f16 before the decode, which runs in f32.
"""

import argparse
import json
import math
import zlib

import torch
from diffusers import AutoencoderKLQwenImage, AutoencoderKLQwenImage21, AutoencoderKLWan
from diffusers.pipelines.qwenimage21.pipeline_qwenimage21 import QwenImage21Pipeline
from make_goldens import HERE, patches, save

STEP = 7
PATCHED = 2

# `latents` is (frames, height, width). Tiles are of `tile` pixels, `stride` pixels apart; `patch_tiles`
# are others, where half of what the class's own share is most of the picture.
MODELS = {
    # Three levels above the first, as all released models have them.
    "wan": dict(
        kind=AutoencoderKLWan, tile=64, stride=48, latents=(5, 9, 13), z=4,
        config=dict(base_dim=8, dim_mult=[1, 2, 4, 4], num_res_blocks=1)),
    # Pictures of four channels, as Qwen-Image-Layered has them; frames are doubled once.
    "qwen-layered": dict(
        kind=AutoencoderKLQwenImage, tile=32, stride=24, patch_tiles=(32, 4), latents=(3, 10, 15), z=16,
        config=dict(base_dim=8, dim_mult=[1, 2, 2], num_res_blocks=2,
                    temperal_downsample=[False, True], input_channels=4)),
    # The 5B model of Wan 2.2 in small: shortcuts around levels that keep, halve and double their channels,
    # and pixels in channels, which are blended with the same weight.
    "wan-residual": dict(
        kind=AutoencoderKLWan, tile=64, stride=48, latents=(4, 6, 9), z=6,
        config=dict(base_dim=4, decoder_base_dim=8, dim_mult=[1, 2, 4, 2], num_res_blocks=1,
                    temperal_downsample=[False, True, True], is_residual=True, patch_size=2,
                    in_channels=12, out_channels=12, scale_factor_spatial=16)),
    # Qwen-Image 2.1 in small, with convs over time that never run.
    "qwen-image-21": dict(
        kind=AutoencoderKLQwenImage21, tile=32, stride=24, latents=(1, 10, 15), z=5,
        config=dict(base_dim=4, decoder_base_dim=6, dim_mult=[1, 2, 4, 4], num_res_blocks=1,
                    temperal_downsample=[False, True, True], scale_factor_temporal=4,
                    scale_factor_spatial=8)),
}


def randomize(vae, generator):
    """Weights with which every part of the decoder counts, and some results beyond -1 and 1."""
    for name, parameter in vae.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("gamma"):
            value = 1 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.1 * noise
        else:
            gain = 1.5 if ".to_qkv." in name else 0.6 if "conv_out" in name else 1.0
            value = gain * noise / math.sqrt(parameter[0].numel())
        parameter.data.copy_(value.half().float())


def tiled(vae, z, spec):
    vae.enable_tiling(spec["tile"], spec["tile"], spec["stride"], spec["stride"])
    return vae.tiled_decode(z).sample


def patched(vae, z, ranks, spec):
    scale = vae.spatial_compression_ratio
    own = (vae.tile_sample_min_height, vae.tile_sample_stride_height)
    tile, stride = spec.get("patch_tiles", own)
    halo = (tile - stride) // scale // 2
    return patches(z[:, :, :PATCHED], ranks, halo, scale, lambda window: vae.decode(window).sample)


def tokens(vae, z):
    """Latents of Qwen-Image 2.1 as its pipeline has them, packed by its own code."""
    batch, channels, _, height, width = z.shape
    mean, std = (torch.tensor(values).view(1, channels, 1, 1, 1)
                 for values in [vae.config.latents_mean, vae.config.latents_std])
    return QwenImage21Pipeline._pack_latents((z - mean) / std, batch, channels, height, width)


def kept(results):
    """Of each result some pixels of all frames, and sums of all pixels."""
    tensors = {}
    for name, (result,) in results.items():
        frames = result.transpose(0, 1)
        tensors[name] = frames[:, :, ::STEP, ::STEP]
        tensors[f"{name}.sums"] = frames.double().sum(dim=(2, 3)).float()
    return tensors


@torch.no_grad()
def make(name, spec):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    channels = spec["z"]
    mean = torch.randn(channels, generator=generator).tolist()
    std = (1 + torch.rand(channels, generator=generator)).tolist()
    config = spec["config"] | dict(
        z_dim=channels,
        latents_mean=[round(value, 4) for value in mean],
        latents_std=[round(value, 4) for value in std],
    )
    vae = spec["kind"](**config).eval()
    randomize(vae, generator)
    frames, height, width = spec["latents"]
    z = torch.randn((1, channels, frames, height, width), generator=generator)
    results = {"whole": vae.decode(z).sample, "tiled": tiled(vae, z, spec)}
    assert results["whole"].shape == results["tiled"].shape
    vae.use_tiling = False
    for fewer in range(1, frames):
        first = vae.decode(z[:, :, :fewer]).sample
        assert (first - results["whole"][:, :, :first.shape[2]]).abs().max() < 1e-5, fewer
    if spec["kind"] is AutoencoderKLWan and not spec["config"].get("is_residual"):
        qwen = AutoencoderKLQwenImage(**config).eval()
        qwen.load_state_dict(vae.state_dict())
        results["qwen_tiled"] = tiled(qwen, z, spec)
        beyond = (results["qwen_tiled"].abs() > 1).float().mean()
        assert 0.01 < beyond < 0.1, beyond
    own = spec["kind"](**config).eval()
    own.load_state_dict(vae.state_dict())
    for ranks in (2, 6):
        picture = patched(own, z, ranks, spec)
        assert picture.isfinite().all()
        first = results["whole"][:, :, :picture.shape[2]]
        assert picture.shape == first.shape
        assert (picture - first).abs().mean() > 1e-3, "a patch sees all that the whole does"
        results[f"patch{ranks}"] = picture

    folder = HERE / name
    folder.mkdir(exist_ok=True)
    config = {k: v for k, v in vae.config.items() if not k.startswith("_")}
    config = {"_class_name": spec["kind"].__name__} | config
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    weights = {key: value.half() for key, value in vae.state_dict().items()
               if key.startswith(("decoder.", "post_quant_conv."))}
    save(weights, folder / "diffusion_pytorch_model.safetensors")
    save({"latents": z}, folder / "latents.safetensors")
    save(kept(results), folder / "expected.safetensors")
    if spec["kind"] is AutoencoderKLQwenImage21:
        save({"tokens": tokens(vae, z)}, folder / "pipeline.safetensors")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=[*MODELS])
    only = parser.parse_args().only
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, spec in MODELS.items():
        if only in (None, name):
            results = make(name, spec)
            whole = results["whole"]
            print(f"{name:18} {tuple(whole.shape)} rms {whole.pow(2).mean().sqrt():.3f}")
            for key, result in results.items():
                if key != "whole":
                    print(f"  {key:12} mean |difference to whole|"
                          f" {(result - whole[:, :, :result.shape[2]]).abs().mean():.4f}")


if __name__ == "__main__":
    main()
