"""Makes the golden values of the parity tests of LTX's VAEs, beside those of make_goldens.py.

    pip install torch diffusers safetensors
    python tests/golden/make_ltx_goldens.py [--only NAME]

Folders and files are those of make_wan_goldens.py. The weights have the statistics of the latents as well. Of
expected.safetensors, `whole` is of all frames of latents and `frames1`, `frames2` and so on are of the first
ones alone, since a frame depends on those behind it; `tiled`, `tiled_in_time` and, of one model, `patch4` are of
all frames.
"""

import argparse
import json
import math
import zlib

import torch
from diffusers import AutoencoderKLLTX2Video, AutoencoderKLLTXVideo
from make_goldens import HERE, save
from make_wan_goldens import kept

# The encoder does not count, and is as small as it can be.
ENCODERS = {
    AutoencoderKLLTX2Video: dict(
        block_out_channels=[8], down_block_types=["LTX2VideoDownBlock3D"], layers_per_block=[1, 1],
        spatio_temporal_scaling=[True], downsample_type=["spatial"]),
    AutoencoderKLLTXVideo: dict(
        block_out_channels=[8], down_block_types=["LTXVideoDownBlock3D"], layers_per_block=[1, 1],
        spatio_temporal_scaling=[True], downsample_type=["conv"]),
}

# `latents` is (frames, height, width). Tiles are of `tile` pixels, `stride` pixels apart, and in time of
# `frames_of_tile` frames, `frames_apart`.
MODELS = {
    # LTX-2.0 in small: reflections, and shortcuts around upsamplers.
    "ltx2": dict(
        kind=AutoencoderKLLTX2Video, tile=64, stride=48, frames_of_tile=8, frames_apart=4, latents=(4, 5, 8), z=5,
        config=dict(decoder_block_out_channels=[8, 16], decoder_layers_per_block=[1, 1, 2],
                    decoder_spatio_temporal_scaling=[True, True], decoder_inject_noise=[False] * 3,
                    upsample_type=["spatiotemporal"] * 2, upsample_residual=[True] * 2, upsample_factor=[2, 2],
                    patch_size=4, decoder_causal=False, spatial_compression_ratio=16,
                    temporal_compression_ratio=4)),
    # LTX-2.3 in small: zeros, and upsamplers in time and in space apart.
    "ltx2-3": dict(
        kind=AutoencoderKLLTX2Video, tile=32, stride=24, frames_of_tile=12, frames_apart=8, latents=(5, 5, 6), z=6,
        config=dict(decoder_block_out_channels=[8, 8, 16], decoder_layers_per_block=[1, 2, 1, 1],
                    decoder_spatio_temporal_scaling=[True] * 3, decoder_inject_noise=[False] * 4,
                    upsample_type=["spatiotemporal", "temporal", "spatial"], upsample_residual=[False] * 3,
                    upsample_factor=[2, 1, 2], patch_size=2, decoder_causal=False,
                    decoder_spatial_padding_mode="zeros", spatial_compression_ratio=8,
                    temporal_compression_ratio=4)),
    # What no released model has: convs that look back alone, copies beside rows and columns, a level with
    # other channels than the one before it, and one that keeps its cells.
    "ltx2-causal": dict(
        kind=AutoencoderKLLTX2Video, tile=32, stride=24, frames_of_tile=8, frames_apart=4, latents=(3, 6, 7), z=3,
        config=dict(decoder_block_out_channels=[4, 4, 8], decoder_layers_per_block=[1, 1, 1, 1],
                    decoder_spatio_temporal_scaling=[False, True, True], decoder_inject_noise=[False] * 4,
                    upsample_type=["spatiotemporal", "temporal", "spatial"],
                    upsample_residual=[False, True, True], upsample_factor=[1, 1, 1], patch_size=4,
                    decoder_causal=True, decoder_spatial_padding_mode="replicate", spatial_compression_ratio=8,
                    temporal_compression_ratio=4)),
    # LTX-Video 0.9.0 in small: a level that keeps its cells, and one with other channels.
    "ltx": dict(
        kind=AutoencoderKLLTXVideo, tile=32, stride=24, frames_of_tile=8, frames_apart=4, latents=(4, 5, 6), z=4,
        config=dict(decoder_block_out_channels=[4, 8, 8], decoder_layers_per_block=[1, 1, 1, 1],
                    decoder_spatio_temporal_scaling=[True, True, False], decoder_inject_noise=[False] * 4,
                    upsample_residual=[False] * 3, upsample_factor=[1, 1, 1], patch_size=2,
                    decoder_causal=False, spatial_compression_ratio=8, temporal_compression_ratio=4)),
}


def randomize(vae, generator):
    """Weights with which every part of the decoder counts."""
    for name, parameter in vae.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            value = 1 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.1 * noise
        else:
            value = noise / math.sqrt(parameter[0].numel())
        parameter.data.copy_(value.half().float())
    for name, buffer in vae.named_buffers():
        noise = torch.randn(buffer.shape, generator=generator)
        buffer.copy_(((1 + noise.abs()) if name.endswith("std") else noise).half().float())


def patch_decode(vae, z):
    """The patch strategy of vLLM-Omni on 2 x 2 ranks, of all frames; see make_goldens.py."""
    scale = vae.spatial_compression_ratio
    overlap = (vae.tile_sample_min_height - vae.tile_sample_stride_height) // scale // 2
    *_, height, width = z.shape
    rows = []
    for row in range(2):
        top, bottom = row * height // 2, (row + 1) * height // 2
        columns = []
        for column in range(2):
            left, right = column * width // 2, (column + 1) * width // 2
            halo = max(overlap, min(bottom - top, right - left) // 2)
            first_row, first_column = max(0, top - halo), max(0, left - halo)
            window = z[..., first_row:min(height, bottom + halo), first_column:min(width, right + halo)]
            y, x = (top - first_row) * scale, (left - first_column) * scale
            picture = vae.decode(window).sample
            columns.append(picture[..., y:y + (bottom - top) * scale, x:x + (right - left) * scale])
        rows.append(torch.cat(columns, dim=-1))
    return torch.cat(rows, dim=-2)


@torch.no_grad()
def make(name, spec):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    vae = spec["kind"](**ENCODERS[spec["kind"]], latent_channels=spec["z"], **spec["config"]).eval()
    randomize(vae, generator)
    frames, height, width = spec["latents"]
    z = torch.randn((1, spec["z"], frames, height, width), generator=generator)
    results = {"whole": vae.decode(z).sample}
    for fewer in range(1, frames):
        results[f"frames{fewer}"] = vae.decode(z[:, :, :fewer]).sample
    if name == "ltx2":
        # Of the others, patches see all that there is.
        results["patch4"] = patch_decode(vae, z)
    vae.enable_tiling(spec["tile"], spec["tile"], spec["frames_of_tile"], spec["stride"], spec["stride"],
                      spec["frames_apart"])
    results["tiled"] = vae.decode(z).sample
    vae.use_framewise_decoding = True
    results["tiled_in_time"] = vae.decode(z).sample
    for key in ("tiled", "tiled_in_time", "patch4"):
        if key not in results:
            continue
        assert results[key].shape == results["whole"].shape, key
        assert (results[key] - results["whole"]).abs().max() > 1e-2, key
    looks_ahead = not spec["config"]["decoder_causal"]
    first = results["frames1"]
    assert ((first - results["whole"][:, :, :1]).abs().max() > 1e-2) == looks_ahead

    folder = HERE / name
    folder.mkdir(exist_ok=True)
    config = {k: v for k, v in vae.config.items() if not k.startswith("_")}
    config = {"_class_name": spec["kind"].__name__} | config
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    weights = {key: value.half() for key, value in vae.state_dict().items() if not key.startswith("encoder.")}
    save(weights, folder / "diffusion_pytorch_model.safetensors")
    save({"latents": z}, folder / "latents.safetensors")
    save(kept(results), folder / "expected.safetensors")
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
                if result.shape == whole.shape and key != "whole":
                    print(f"  {key:14} mean |difference to whole| {(result - whole).abs().mean():.4f}")


if __name__ == "__main__":
    main()
