"""Writes the seeds of corpus/: one small file per kind of input that a reader knows.

    pip install numpy ml_dtypes safetensors
    python make_seeds.py
"""
import io
import json
import pathlib
import struct

import ml_dtypes
import numpy as np
from safetensors.numpy import save

CORPUS = pathlib.Path(__file__).parent / "corpus"
DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


def seed(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def decoder(ldm, attention=True, post_quant_conv=True, z=2, channels=(2, 4)):
    """Shapes of a decoder with one layer per block, in diffusers' or LDM's naming."""
    shapes = {}

    def conv(name, out, inputs, kernel=1):
        shapes[name + ".weight"] = (out, inputs, kernel, kernel)
        shapes[name + ".bias"] = (out,)

    def norm(name, width):
        shapes[name + ".weight"] = shapes[name + ".bias"] = (width,)

    def resnet(name, out, inputs):
        norm(name + ".norm1", inputs), conv(name + ".conv1", out, inputs)
        norm(name + ".norm2", out), conv(name + ".conv2", out, out)
        if out != inputs:
            conv(name + (".nin_shortcut" if ldm else ".conv_shortcut"), out, inputs)

    deep = channels[-1]
    if post_quant_conv:
        conv("post_quant_conv", z, z)
    conv("decoder.conv_in", deep, z)
    for index in range(2):
        resnet(f"decoder.mid.block_{index + 1}" if ldm else f"decoder.mid_block.resnets.{index}", deep, deep)
    if attention:
        base = "decoder.mid.attn_1." if ldm else "decoder.mid_block.attentions.0."
        norm(base + ("norm" if ldm else "group_norm"), deep)
        for new, original in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
            conv(base + (original if ldm else new), deep, deep)
    width = deep
    for block, out in enumerate(reversed(channels)):
        level = len(channels) - 1 - block
        base = f"decoder.up.{level}." if ldm else f"decoder.up_blocks.{block}."
        for layer in range(2):
            resnet(base + (f"block.{layer}" if ldm else f"resnets.{layer}"), out, width)
            width = out
        if level:
            conv(base + ("upsample.conv" if ldm else "upsamplers.0.conv"), width, width)
    norm("decoder.norm_out" if ldm else "decoder.conv_norm_out", width)
    conv("decoder.conv_out", 3, width)
    return shapes


def tensors(shapes, dtype, prefix=""):
    return save({prefix + name: np.full(shape, 0.5, DTYPES[dtype]) for name, shape in shapes.items()})


def raw(header, data=b""):
    text = header.encode()
    return struct.pack("<Q", len(text)) + text + data


seed("safetensors", "diffusers_f32", tensors(decoder(ldm=False), "f32"))
seed("safetensors", "diffusers_bf16_plain", tensors(decoder(False, attention=False, post_quant_conv=False), "bf16"))
seed("safetensors", "ldm_f16_prefixed", tensors(decoder(ldm=True), "f16", "first_stage_model."))
seed("safetensors", "one_tensor", save({"decoder.conv_in.weight": np.zeros((1, 1, 1, 1), "f4")}))
seed("safetensors", "empty", raw("{}"))
# The ends of its offsets add up to almost 2**64.
eighth = (2**64 - 1) // 8
entries = [f'"t{i}":{{"dtype":"U8","shape":[{eighth}],"data_offsets":[{i * eighth},{(i + 1) * eighth}]}}' for i in range(8)]
seed("safetensors", "offsets_near_the_end", raw("{" + ",".join(entries) + "}"))

values = np.arange(48).reshape(2, 3, 2, 4) / 8
for name, dtype, order, version in (
    ("f4", "<f4", "C", None), ("f2_fortran", "<f2", "F", None), ("f8_big_endian", ">f8", "C", None),
    ("version_2", "<f4", "F", (2, 0)), ("version_3", ">f4", "C", (3, 0)),
):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(values, dtype, order=order), version)
    seed("npy", name, buffer.getvalue())

# The flags are packed, layers, sides (none), video, with_key and mean_and_std.
for name, flags, dtype, content in (
    ("packed", (1, 0, 0, 0, 0, 0), "f32", {"latents": values.reshape(1, 4, 12)}),
    ("comfy", (0, 0, 0, 0, 0, 0), "f32", {"latent_tensor": values, "latent_format_version_0": np.zeros(0)}),
    ("comfy_old", (0, 0, 0, 0, 0, 0), "f32", {"latent_tensor": values[:1]}),
    ("plain_bf16", (0, 0, 0, 0, 0, 1), "bf16", {"latents": values}),
    ("keyed_f16", (0, 0, 0, 0, 1, 0), "f16", {"z": values[0], "other": values[0, 0]}),
    ("video", (0, 0, 0, 1, 0, 1), "f32", {"latents": np.stack([values, 2 * values], 2)}),
    ("layers", (1, 1, 0, 0, 0, 0), "bf16", {"latents": values.reshape(1, 4, 12)}),
):
    file = save({key: array.astype(DTYPES[dtype]) for key, array in content.items()})
    seed("comfy_latent", name, struct.pack("<6B2fB", *flags, 0.5, 0.25, 3) + file)

flux = dict(
    _class_name="AutoencoderKL", act_fn="silu", block_out_channels=[128, 256, 512, 512],
    down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, force_upcast=True,
    in_channels=3, out_channels=3, latent_channels=16, latents_mean=None, latents_std=None, layers_per_block=2,
    mid_block_add_attention=True, norm_num_groups=32, sample_size=1024, scaling_factor=0.3611, shift_factor=0.1159,
    use_quant_conv=False, use_post_quant_conv=False)
statistics = dict(flux, latent_channels=2, latents_mean=[0.5, -1e-3], latents_std=[1, 2.5], sample_size=[512, 768], act_fn="swish")
both = dict(
    attn_scales=[], base_dim=96, dim_mult=[1, 2, 4, 4], dropout=0.0, latents_mean=[0.5] * 16, latents_std=[2.5] * 16,
    num_res_blocks=2, temperal_downsample=[False, True, True], z_dim=16)
wan = dict(
    both, _class_name="AutoencoderKLWan", decoder_base_dim=None, in_channels=3, out_channels=3, is_residual=False,
    patch_size=None, scale_factor_temporal=4, scale_factor_spatial=8)
qwen_image = dict(both, _class_name="AutoencoderKLQwenImage", input_channels=4)
for name, config in (
    ("flux", flux), ("statistics", statistics), ("empty", {}), ("wan", wan), ("qwen_image", qwen_image),
    ("bad", dict(flux, norm_num_groups=48, shift_factor="x")),
):
    seed("config", name, json.dumps(config).encode())
