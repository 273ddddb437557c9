"""Writes the seeds of corpus/ that have names: one small file per kind of input that a target knows.

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


def wan_shapes(original, z=1, channels=(1, 2), temporal=True, out=3):
    """Shapes of Wan's decoder with one resnet fewer per level than releases have, in diffusers' or its own naming."""
    shapes = {}

    def conv(name, out, inputs, *kernel):
        shapes[name + ".weight"] = (out, inputs, *kernel)
        shapes[name + ".bias"] = (out,)

    def resnet(name, out, inputs):
        parts = "residual.0 residual.2 residual.3 residual.6 shortcut" if original else "norm1 conv1 norm2 conv2 conv_shortcut"
        norm1, conv1, norm2, conv2, shortcut = (f"{name}.{part}" for part in parts.split())
        shapes[norm1 + ".gamma"], shapes[norm2 + ".gamma"] = (inputs, 1, 1, 1), (out, 1, 1, 1)
        conv(conv1, out, inputs, 3, 3, 3), conv(conv2, out, out, 3, 3, 3)
        if out != inputs:
            conv(shortcut, out, inputs, 1, 1, 1)

    def named(diffusers, wans):
        return "decoder." + (wans if original else diffusers)

    deep = channels[-1]
    conv("conv2" if original else "post_quant_conv", z, z, 1, 1, 1)
    conv(named("conv_in", "conv1"), deep, z, 3, 3, 3)
    for index in range(2):
        resnet(named(f"mid_block.resnets.{index}", f"middle.{2 * index}"), deep, deep)
    attention = named("mid_block.attentions.0", "middle.1")
    shapes[attention + ".norm.gamma"] = (deep, 1, 1)
    conv(attention + ".to_qkv", 3 * deep, deep, 1, 1), conv(attention + ".proj", deep, deep, 1, 1)
    width, place = deep, 0
    for block, width_out in enumerate(reversed(channels)):
        for layer in range(2):
            resnet(named(f"up_blocks.{block}.resnets.{layer}", f"upsamples.{place}"), width_out, width)
            width, place = width_out, place + 1
        if block + 1 < len(channels):
            base = named(f"up_blocks.{block}.upsamplers.0", f"upsamples.{place}")
            conv(base + ".resample.1", width // 2, width, 3, 3)
            if temporal:
                conv(base + ".time_conv", 2 * width, width, 3, 1, 1)
            width, place = width // 2, place + 1
    shapes[named("norm_out", "head.0") + ".gamma"] = (width, 1, 1, 1)
    conv(named("conv_out", "head.2"), out, width, 3, 3, 3)
    return shapes


def ltx_shapes(original, z=2, deep=8, factors=(2, 2), resnets=1):
    """Shapes of LTX-2's decoder with few resnets, in diffusers' or its own naming."""
    shapes = {}

    def conv(name, out, inputs):
        shapes[name + ".conv.weight"] = (out, inputs, 3, 3, 3)
        shapes[name + ".conv.bias"] = (out,)

    def stack(place, block, width):
        for index in range(resnets):
            base = f"decoder.up_blocks.{place}.res_blocks.{index}" if original else f"decoder.{block}.resnets.{index}"
            conv(base + ".conv1", width, width), conv(base + ".conv2", width, width)

    conv("decoder.conv_in", deep, z)
    stack(0, "mid_block", deep)
    width = deep
    for level, factor in enumerate(factors):
        base = f"up_blocks.{2 * level + 1}" if original else f"up_blocks.{level}.upsamplers.0"
        conv(f"decoder.{base}.conv", width * 8 // factor, width)
        width //= factor
        stack(2 * level + 2, f"up_blocks.{level}", width)
    conv("decoder.conv_out", 12, width)
    mean, std = ("per_channel_statistics.mean-of-means", "per_channel_statistics.std-of-means") if original else (
        "latents_mean", "latents_std")
    shapes[mean] = shapes[std] = (z,)
    return shapes


def tensors(shapes, dtype, prefix=""):
    return save({prefix + name: np.full(shape, 0.5, DTYPES[dtype]) for name, shape in shapes.items()})


def raw(header, data=b""):
    text = header.encode()
    return struct.pack("<Q", len(text)) + text + data


seed("safetensors", "diffusers_f32", tensors(decoder(ldm=False), "f32"))
seed("safetensors", "diffusers_bf16_plain", tensors(decoder(False, attention=False, post_quant_conv=False), "bf16"))
seed("safetensors", "ldm_f16_prefixed", tensors(decoder(ldm=True), "f16", "first_stage_model."))
seed("safetensors", "wan_diffusers_f16", tensors(wan_shapes(original=False), "f16"))
seed("safetensors", "wan_original_bf16_prefixed", tensors(wan_shapes(original=True, temporal=False), "bf16", "vae."))
seed("safetensors", "qwen_image_layered_f16", tensors(wan_shapes(original=True, out=4), "f16"))
seed("safetensors", "ltx2_diffusers_f16", tensors(ltx_shapes(original=False), "f16"))
seed("safetensors", "ltx2_original_bf16_prefixed", tensors(ltx_shapes(original=True), "bf16", "vae."))
# A tensor without elements may claim any extents.
claims = {"decoder.conv_in.weight": (1, 2**32 - 1, 0, 3, 3), "decoder.up_blocks.0.resnets.0.conv1.weight": (0, 2**62, 3, 3, 3)}
entries = [f'"{name}":{{"dtype":"F16","shape":{list(shape)},"data_offsets":[0,0]}}' for name, shape in claims.items()]
entries += ['"decoder.conv_out.weight":{"dtype":"F16","shape":[0,1,3,3,3],"data_offsets":[0,0]}']
entries += ['"decoder.mid_block.resnets.0.norm1.gamma":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}']
seed("safetensors", "wan_of_no_elements", raw("{" + ",".join(entries) + "}"))
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
# One frame is what ComfyUI stores of Qwen-Image.
frames = np.stack([values, 2 * values], 2)
for name, dtype, order, array in (
    ("one_frame", "<f4", "C", values[:, :, None]), ("video", "<f4", "C", frames), ("video_f2_fortran", "<f2", "F", frames),
    ("video_without_batch", ">f8", "C", frames[0]), ("image", "<f4", "F", values[0]), ("six_axes", "<f4", "C", frames[None]),
):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array, dtype, order=order))
    seed("npy", name, buffer.getvalue())

# The flags are packed, layers, sides (none), video, with_key and mean_and_std; behind them in_place, comfy and
# of_tokens, where a name ends so.
for name, flags, dtype, content in (
    ("packed", (1, 0, 0, 0, 0, 0), "f32", {"latents": values.reshape(1, 4, 12)}),
    ("comfy", (0, 0, 0, 0, 0, 0), "f32", {"latent_tensor": values, "latent_format_version_0": np.zeros(0)}),
    ("comfy_old", (0, 0, 0, 0, 0, 0), "f32", {"latent_tensor": values[:1]}),
    ("plain_bf16", (0, 0, 0, 0, 0, 1), "bf16", {"latents": values}),
    ("keyed_f16", (0, 0, 0, 0, 1, 0), "f16", {"z": values[0], "other": values[0, 0]}),
    ("video", (0, 0, 0, 1, 0, 1), "f32", {"latents": frames}),
    ("layers", (1, 1, 0, 0, 0, 0), "bf16", {"latents": values.reshape(1, 4, 12)}),
    ("in_place", (1, 0, 0, 0, 0, 1), "f32", {"latents": values.reshape(1, 12, 2, 2)}),
    ("comfy_in_place", (1, 0, 0, 0, 0, 1), "f32", {"latent_tensor": values.reshape(1, 12, 2, 2), "latent_format_version_0": np.zeros(0)}),
):
    file = save({key: array.astype(DTYPES[dtype]) for key, array in content.items()})
    more = (1, 1, 1) if name.endswith("in_place") else (0, 0, 0)
    seed("comfy_latent", name, struct.pack("<6B2fB3B", *flags, 0.5, 0.25, 3, *more) + file)

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
wan_residual = dict(
    wan, base_dim=160, decoder_base_dim=256, z_dim=48, latents_mean=[0.5] * 48, latents_std=[2.5] * 48, in_channels=12,
    out_channels=12, is_residual=True, patch_size=2, scale_factor_spatial=16)
hunyuan_image = dict(
    _class_name="AutoencoderKLHunyuanImage", block_out_channels=[128, 256, 512, 512, 1024, 1024], latent_channels=64,
    layers_per_block=2, sample_size=384, scaling_factor=0.75289, spatial_compression_ratio=32, upsample_match_channel=True)
qwen_image_21 = dict(_class_name="AutoencoderKLQwenImage21", is_residual=True, patch_size=None)
flux2 = dict(
    flux, _class_name="AutoencoderKLFlux2", latent_channels=32, batch_norm_eps=1e-4, patch_size=[2, 2],
    decoder_block_out_channels=[96, 192, 384, 384])
ltx = dict(
    _class_name="AutoencoderKLLTXVideo", decoder_block_out_channels=[128, 256, 512, 512],
    decoder_layers_per_block=[4, 3, 3, 3, 4], decoder_spatio_temporal_scaling=[True, True, True, False],
    decoder_inject_noise=[False] * 5, upsample_residual=[False] * 4, upsample_factor=[1] * 4, decoder_causal=False,
    latent_channels=128, out_channels=3, patch_size=4, patch_size_t=1, resnet_norm_eps=1e-6, scaling_factor=1.0,
    timestep_conditioning=False, spatial_compression_ratio=None, temporal_compression_ratio=None)
ltx2 = dict(
    ltx, _class_name="AutoencoderKLLTX2Video", decoder_block_out_channels=[256, 512, 512, 1024],
    decoder_layers_per_block=[4, 6, 4, 2, 2], decoder_spatio_temporal_scaling=True, decoder_inject_noise=False,
    upsample_type=["spatiotemporal", "spatiotemporal", "temporal", "spatial"], upsample_factor=[2, 2, 1, 2],
    decoder_spatial_padding_mode="zeros", spatial_compression_ratio=32, temporal_compression_ratio=8)
for name, config in (
    ("ltx", ltx), ("ltx2", ltx2),
    ("flux", flux), ("statistics", statistics), ("empty", {}), ("wan", wan), ("qwen_image", qwen_image),
    ("wan_residual", wan_residual), ("qwen_image_21", qwen_image_21), ("flux2", flux2),
    ("hunyuan_image", hunyuan_image),
    ("bad", dict(flux, norm_num_groups=48, shift_factor="x")),
):
    seed("config", name, json.dumps(config).encode())


def variant(index, count):
    """Which of so many variants an `enum` is."""
    return struct.pack("<I", -(-(index << 32) // count))


def number(value):
    """A `Number` that is small."""
    return variant(0, 2) + struct.pack("B", value)


def listed(items):
    """A `Vec`: whether there is one more, ahead of each and at the end."""
    return b"".join(b"\1" + item for item in items) + b"\0"


def wan_decoder(frames, levels, cuts=0, base=2, z=2, out=3, resnets=1, qwen_image=False, encoder=None, residual=False, patch=None):
    """The `Input` of the target `program` for a decoder of videos; of images it says nothing."""
    of_images = listed([]) + number(1) + b"\0" + number(1) * 5 + b"\0\0"
    of_backend = struct.pack("<3Q", 0x5555555555555555, 3, 64)
    time = number(frames) + number(1) + struct.pack("<H5B", cuts, 1, 0, 0, 0, 0) + listed([])
    network = struct.pack("B", qwen_image) + b"".join(map(number, (base, z, out, resnets)))
    network += listed(number(mult) + struct.pack("B", doubles) for mult, doubles in levels)
    network += b"\0" if encoder is None else b"\1" + b"".join(map(number, encoder))
    # Scales as the levels have them.
    network += b"\0" + struct.pack("B", residual)
    network += b"\0" if patch is None else b"\1" + struct.pack("<I", patch)
    return of_images + number(2) + number(3) + b"\1" + of_backend + time + b"\1" + network


def hunyuan_image_decoder(channels, z, upsamplers, tile):
    """The same for a decoder of HunyuanImage's kind."""
    of_images = listed(map(number, channels)) + number(1) + b"\0" + b"".join(map(number, (z, 3, 1, tile, tile))) + b"\0\1"
    of_backend = struct.pack("<3Q", 0x5555555555555555, 3, 64)
    time = number(1) + number(1) + struct.pack("<H5B", 0, 1, 0, 0, 0, 0) + listed([])
    return of_images + number(2) + number(3) + b"\1" + of_backend + time + b"\0" + struct.pack("2B", 1, upsamplers)


def ltx_decoder(frames, levels, cuts=0, ltx2=True, z=2, patch=2, causal=False, edge=1):
    """The same for one of LTX; a level is channels, factor, resnets, what it doubles, whether, and a shortcut."""
    of_images = listed([]) + number(1) + b"\0" + number(1) * 5 + b"\0\0"
    of_backend = struct.pack("<3Q", 0x5555555555555555, 3, 64)
    time = number(frames) + number(1) + struct.pack("<H5B", cuts, 1, 0, 0, 0, 0) + listed([])
    network = struct.pack("B", ltx2) + number(z) + number(3) + struct.pack("4B", patch, causal, edge, 1)
    network += listed(number(channels) + struct.pack("5B", *level) for channels, *level in levels)
    return of_images + number(2) + number(3) + b"\1" + of_backend + time + b"\0\0\1" + network


for name, input in (
    ("ltx2", ltx_decoder(3, [(16, 2, 1, 2, 1, 1), (8, 2, 1, 0, 1, 1)], cuts=2)),
    ("ltx2_in_parts", ltx_decoder(4, [(8, 1, 1, 2, 1, 0), (8, 1, 0, 1, 1, 1), (4, 1, 1, 0, 1, 0)], cuts=0xffff, edge=0)),
    ("ltx2_causal", ltx_decoder(2, [(4, 1, 1, 0, 0, 0), (3, 1, 0, 2, 1, 0)], causal=True, edge=2, patch=1)),
    ("ltx", ltx_decoder(1, [(4, 1, 1, 2, 0, 0), (4, 1, 1, 2, 1, 0), (2, 1, 1, 2, 1, 0)], ltx2=False, edge=0)),
    ("wan", wan_decoder(3, [(1, 0), (2, 1)], cuts=2)), ("wan_of_one_level", wan_decoder(5, [(1, 0)], cuts=0b1010)),
    ("wan_of_four_levels", wan_decoder(4, [(1, 0), (2, 1), (2, 1), (2, 0)], cuts=0xffff)),
    ("wan_of_one_frame", wan_decoder(1, [(1, 0), (1, 1), (3, 0)], resnets=2)),
    ("wan_with_an_encoder", wan_decoder(2, [(1, 0), (2, 0)], encoder=(6, 1))),
    ("qwen_image", wan_decoder(1, [(1, 0), (2, 1)], out=4, qwen_image=True)),
    ("wan_residual", wan_decoder(3, [(1, 0), (2, 1), (2, 1)], cuts=2, out=12, residual=True, patch=2)),
    ("qwen_image_21", wan_decoder(1, [(1, 0), (2, 1)], out=4, qwen_image=True, residual=True)),
    ("hunyuan_image", hunyuan_image_decoder([1, 1], 8, 1, 8)),
    ("hunyuan_image_of_four_levels", hunyuan_image_decoder([3, 3, 1, 2], 4, 2, 64)),
):
    seed("program", name, input)


def checkpoint(network, names=0, prefix=0, encoder=None, given=0, changes=()):
    """The `Input` of the target `checkpoint`."""
    head = network + variant(names, 3) + struct.pack("BB", prefix, 0)
    head += b"\0" if encoder is None else struct.pack("3B", 1, *encoder)
    return head + variant(given, 5) + listed(changes)


def change(at, place, kind, rest=b""):
    """One of nine kinds of changes of the tensor `at`."""
    return struct.pack("<HB", at, place) + variant(kind, 9) + rest


kl_network = variant(0, 2) + listed([b"\1", b"\3"]) + struct.pack("5B", 0, 3, 1, 1, 2)
wan_network = variant(1, 2) + listed(struct.pack("BB", *level) for level in ((0, 0), (1, 1), (3, 0))) + struct.pack("3B", 1, 15, 2)
residual_network, network_of_images = (
    wan_network[:-2] + struct.pack("BB", z, out) for z, out in ((65, 11), (130, 3)))
flux2_network = variant(0, 2) + listed([b"\1", b"\3"]) + struct.pack("5B", 0, 131, 1, 1, 2)
layered_network = variant(1, 2) + listed([b"\1\0"]) + struct.pack("3B", 0, 15, 3)
huge, ones = variant(1, 2) + struct.pack("<Q", 2**32 - 1), listed([number(1)])
for name, input in (
    ("kl", checkpoint(kl_network)), ("kl_original", checkpoint(kl_network, 1, 2, (3, 2))),
    ("wan", checkpoint(wan_network)), ("wan_original", checkpoint(wan_network, 1, 1, given=1)),
    ("wan_of_another_class", checkpoint(wan_network, 1, given=2)), ("layered", checkpoint(layered_network, 1, 3)),
    ("layered_with_an_encoder", checkpoint(layered_network, 0, encoder=(5, 2))),
    # The third tensor is the first conv of the decoder.
    ("wan_of_huge_latents", checkpoint(wan_network, changes=[change(2, 1, 2, huge)])),
    ("wan_of_a_flat_conv", checkpoint(wan_network, changes=[change(2, 0, 1, listed([number(4)] * 4))])),
    ("wan_with_a_hole", checkpoint(wan_network, 1, changes=[change(2, 0, 0)])),
    ("wan_twice", checkpoint(wan_network, 1, changes=[change(2, 1, 6, b"\6")])),
    ("wan_residual", checkpoint(residual_network)), ("wan_residual_original", checkpoint(residual_network, 1, 1)),
    ("qwen_image_21", checkpoint(network_of_images)), ("qwen_image_21_original", checkpoint(network_of_images, 1, 2)),
    ("flux2", checkpoint(flux2_network)), ("flux2_original", checkpoint(flux2_network, 1, 1)),
    ("wan_scaled", checkpoint(wan_network, 1, changes=[change(2, 0, 8, ones)])),
):
    seed("checkpoint", name, input)
