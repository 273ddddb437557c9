"""Makes the golden values of halovae's parity tests: what diffusers makes of small checkpoints.

    pip install torch diffusers safetensors
    python tests/golden/make_goldens.py [--only NAME]

For each model below it writes, beside this script, a folder

    NAME/config.json                          as diffusers saves it
    NAME/diffusion_pytorch_model.safetensors  random weights (decoder only, unless `complete`)
    NAME/latents.safetensors                  key `latents`, f32, [batch, channels, height, width]
    NAME/expected.safetensors                 f32: `whole` (vae.decode), `tiled` (vae.tiled_decode),
                                              `patch2` to `patch6` (see `patches`), and for
                                              one model `tiled_overlap_F` with other overlaps

    NAME/latents.safetensors has, of an AutoencoderKLFlux2, beside `latents` (as the VAE takes them) what
                             pipelines hand over: `tokens`, packed, and `in_place`, with the values of
                             tokens in the place of the channels; both normalized by the batch norm, whose
                             statistics are among the weights

and `demo-vae/expected.safetensors` for the checkpoint in `examples/demo-vae`: every 7th row and
column of `whole`, `tiled` and `patch4` of the whole astronaut.

Weights that are saved in fewer bits are rounded before the decode, which runs in f32: a reader that
widens them exactly meets the bound of f32. Every model is seeded by its own name, so that one can be
added without changing the others. On one machine the script makes the same bytes each time; another
version of torch or another CPU may differ in the last bits, far below the tests' bound.
"""

import argparse
import json
import math
import zlib
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLHunyuanImage
from diffusers.pipelines.flux2.pipeline_flux2 import Flux2Pipeline
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "examples" / "demo-vae"
DEMO_STEP = 7

# `latents` is (batch, height, width) in cells. Tiles have sample_size / factor cells; a size that is
# no multiple of four cells would make diffusers' tiled decode drop or repeat pixels, so none is here.
MODELS = {
    # Factor 1: no upsampler at all.
    "f1-one-level": dict(
        block_out_channels=[32], layers_per_block=1, norm_num_groups=8, latent_channels=4,
        sample_size=8, quant=True, attention=True, latents=(1, 17, 11), dtype="f32"),
    # Factor 2, with the encoder, so that one checkpoint is as complete as published ones are.
    "f2-complete": dict(
        block_out_channels=[16, 32], layers_per_block=1, norm_num_groups=8, latent_channels=4,
        sample_size=16, quant=True, attention=True, latents=(1, 13, 18), dtype="f32", complete=True,
        overlaps=[0, 0.5, 0.75]),
    # Factor 4, a batch, odd sizes, Flux-like: 16 channels, no quant convs.
    "f4-batch": dict(
        block_out_channels=[16, 32, 32], layers_per_block=2, norm_num_groups=16, latent_channels=16,
        sample_size=32, quant=False, attention=True, latents=(2, 11, 21), dtype="bf16"),
    # Factor 4 without attention: every op is local but for the norms.
    "f4-no-attention": dict(
        block_out_channels=[16, 24, 48], layers_per_block=1, norm_num_groups=8, latent_channels=4,
        sample_size=48, quant=True, attention=False, latents=(1, 25, 10), dtype="f16"),
    # Factor 8, the shape of FLUX.1, SD 3 and Z-Image in small.
    "f8-flux": dict(
        block_out_channels=[16, 16, 32, 32], layers_per_block=2, norm_num_groups=16,
        latent_channels=16, sample_size=64, quant=False, attention=True, latents=(1, 9, 14),
        dtype="f16"),
    # Factor 8, the shape of SD 1.5 and SDXL in small: 32 groups of one channel or two.
    "f8-sd": dict(
        block_out_channels=[32, 32, 32, 64], layers_per_block=1, norm_num_groups=32,
        latent_channels=4, sample_size=64, quant=True, attention=True, latents=(1, 7, 10),
        dtype="bf16"),
    # FLUX.2's small decoder in small: other channels than the encoder's, latents of even sides.
    "flux2": dict(
        kind=AutoencoderKLFlux2, block_out_channels=[16, 32, 32], layers_per_block=1,
        norm_num_groups=8, latent_channels=8, sample_size=32, quant=True, attention=True,
        latents=(1, 10, 14), dtype="bf16", decoder_block_out_channels=[8, 24, 32]),
    # HunyuanImage 2.1 in small: upsamplers that halve and that keep channels. Its norms have 32 groups,
    # always, so its channels are many and its weights of few bits.
    "hunyuan-image": dict(
        kind=AutoencoderKLHunyuanImage, block_out_channels=[32, 32, 64], layers_per_block=1,
        latent_channels=4, sample_size=16, latents=(1, 7, 10), dtype="f8"),
}

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
          "f8": torch.float8_e4m3fn}


def randomize(vae, generator):
    """Weights with which every part of the decoder counts.

    What torch initializes norms to (1 and 0) would hide a swapped or forgotten weight, and its
    attention is close to a mean over all positions. Convs keep the variance of what they read.
    """
    for name, parameter in vae.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = "norm" in name
        if name.endswith("bias"):
            value = (0.3 if is_norm else 0.1) * noise
        elif is_norm:
            value = 1 + 0.3 * noise
        else:
            gain = 1.5 if ".to_q." in name or ".to_k." in name else 1.0
            value = gain * noise / math.sqrt(parameter[0].numel())
        parameter.data.copy_(value)


def patches(z, ranks, halo, scale, decode):
    """The patch strategy of vLLM-Omni: one patch a rank, with a halo of latents that is cropped.

    The grid has the most rows that are at most sqrt(ranks); a patch is `size * i // rows` onwards.
    `halo` is the least one, in latent cells; `decode` makes the pixels of a window of `z`, `scale`
    for each cell. The last two axes are rows and columns.
    """
    height, width = z.shape[-2:]
    rows = max(r for r in range(1, math.isqrt(ranks) + 1) if ranks % r == 0)
    columns = ranks // rows
    out = None
    for row in range(rows):
        for column in range(columns):
            top, bottom = row * height // rows, (row + 1) * height // rows
            left, right = column * width // columns, (column + 1) * width // columns
            if top == bottom or left == right:
                continue
            own = max(halo, min(bottom - top, right - left) // 2)
            first_row, first_column = max(0, top - own), max(0, left - own)
            picture = decode(z[..., first_row:min(height, bottom + own),
                               first_column:min(width, right + own)])
            if out is None:
                shape = (*picture.shape[:-2], height * scale, width * scale)
                out = torch.full(shape, math.nan)
            y, x = (top - first_row) * scale, (left - first_column) * scale
            out[..., top * scale:bottom * scale, left * scale:right * scale] = picture[
                ..., y:y + (bottom - top) * scale, x:x + (right - left) * scale]
    return out


def patch_decode(vae, z, ranks):
    """`patches` of an AutoencoderKL: their least halo is half of what tiles share."""
    halo = int(vae.tile_latent_min_size * vae.tile_overlap_factor) // 2
    scale = 2 ** (len(vae.config.block_out_channels) - 1)

    def picture(window):
        if vae.config.get("use_post_quant_conv"):
            window = vae.post_quant_conv(window)
        return vae.decoder(window)

    return patches(z, ranks, halo, scale, picture)


def decode(vae, z, ranks):
    vae.disable_tiling()
    results = {"whole": vae.decode(z).sample, "tiled": vae.tiled_decode(z).sample}
    return results | {f"patch{n}": patch_decode(vae, z, n) for n in ranks}


def check(results):
    for name, result in results.items():
        assert result.shape == results["whole"].shape, name
        assert result.isfinite().all(), name


def save(tensors, path):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


@torch.no_grad()
def make(name, spec):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    levels = len(spec["block_out_channels"])
    kind = spec.get("kind", AutoencoderKL)
    more = {key: spec[key] for key in ["decoder_block_out_channels"] if key in spec}
    if kind is AutoencoderKLHunyuanImage:
        more = dict(spatial_compression_ratio=2 ** (levels - 1), scaling_factor=0.75289)
    else:
        more |= dict(
            down_block_types=["DownEncoderBlock2D"] * levels,
            up_block_types=["UpDecoderBlock2D"] * levels,
            norm_num_groups=spec["norm_num_groups"],
            use_quant_conv=spec["quant"],
            use_post_quant_conv=spec["quant"],
            mid_block_add_attention=spec["attention"],
        )
    vae = kind(
        **more,
        in_channels=3,
        out_channels=3,
        block_out_channels=spec["block_out_channels"],
        layers_per_block=spec["layers_per_block"],
        latent_channels=spec["latent_channels"],
        sample_size=spec["sample_size"],
    ).eval()
    randomize(vae, generator)
    dtype = DTYPES[spec["dtype"]]
    for parameter in vae.parameters():
        parameter.data = parameter.data.to(dtype).float()
    if kind is AutoencoderKLFlux2:
        vae.bn.running_mean.copy_(torch.randn(vae.bn.running_mean.shape, generator=generator))
        vae.bn.running_var.copy_(0.1 + torch.rand(vae.bn.running_var.shape, generator=generator))
        for statistics in [vae.bn.running_mean, vae.bn.running_var]:
            statistics.data = statistics.to(dtype).float()
    batch, height, width = spec["latents"]
    z = torch.randn((batch, spec["latent_channels"], height, width), generator=generator)
    latents = pipelines(vae, z) if kind is AutoencoderKLFlux2 else {"latents": z}
    z = latents["latents"]
    results = decode(vae, z, range(2, 7))
    for overlap in spec.get("overlaps", []):
        vae.tile_overlap_factor = overlap
        results[f"tiled_overlap_{overlap}"] = vae.tiled_decode(z).sample
    check(results)

    folder = HERE / name
    folder.mkdir(exist_ok=True)
    config = {k: v for k, v in vae.config.items() if not k.startswith("_")}
    config = {"_class_name": kind.__name__} | config
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    weights = {key: value.to(dtype) for key, value in vae.state_dict().items()
               if spec.get("complete") or key.startswith(("decoder.", "post_quant_conv.", "bn.run"))}
    save(weights, folder / "diffusion_pytorch_model.safetensors")
    save(latents, folder / "latents.safetensors")
    save(results, folder / "expected.safetensors")
    return results


def pipelines(vae, z):
    """Latents as FLUX.2's pipelines have them, made of `z`, and what their own code makes of those."""
    mean = vae.bn.running_mean.view(1, -1, 1, 1)
    std = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps)
    in_place = (Flux2Pipeline._patchify_latents(z) - mean) / std
    again = Flux2Pipeline._unpatchify_latents(in_place * std + mean)
    assert (again - z).abs().max() < 1e-5
    return {"latents": again, "in_place": in_place, "tokens": Flux2Pipeline._pack_latents(in_place)}


@torch.no_grad()
def make_demo():
    vae = AutoencoderKL.from_pretrained(DEMO / "vae", torch_dtype=torch.float32).eval()
    z = load_file(DEMO / "latents" / "astronaut.safetensors")["latents"].float()
    results = decode(vae, z, [4])
    check(results)
    folder = HERE / "demo-vae"
    folder.mkdir(exist_ok=True)
    sampled = {name: result[:, :, ::DEMO_STEP, ::DEMO_STEP] for name, result in results.items()}
    save(sampled, folder / "expected.safetensors")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=[*MODELS, "demo-vae"])
    only = parser.parse_args().only
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    makers = {name: lambda name=name, spec=spec: make(name, spec) for name, spec in MODELS.items()}
    makers["demo-vae"] = make_demo
    for name, maker in makers.items():
        if only in (None, name):
            results = maker()
            whole = results["whole"]
            print(f"{name:18} {tuple(whole.shape)} rms {whole.pow(2).mean().sqrt():.3f}"
                  f" max {whole.abs().max():.3f}")
            for key, result in results.items():
                if key != "whole":
                    print(f"  {key:8} mean |difference to whole| {(result - whole).abs().mean():.4f}")


if __name__ == "__main__":
    main()
