"""Measures diffusers' own error in half precision on the golden checkpoints: what halovae's is held against.

    pip install torch diffusers safetensors
    python tests/golden/make_half_errors.py [--only NAME]

For each folder that make_goldens.py made it decodes in float16 and in bfloat16 on the CPU, weights, latents
and all, and writes how far that is from the golden picture in float32 into `half_errors.json`, by type and
folder, for `whole` and `tiled`:

    relative_rms  root of the sum of squared differences over that of the golden's squares
    mean_abs      mean absolute difference
    max_abs       largest absolute difference

The figures depend on torch's kernels, by some percent from one CPU or version to another.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2
from diffusers.utils import logging
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
KINDS = {kind.__name__: kind for kind in [AutoencoderKL, AutoencoderKLFlux2]}


def class_of(folder):
    return json.loads((folder / "config.json").read_text())["_class_name"]


def error(got, expected):
    difference = (got.double() - expected.double()).abs()
    return {
        "relative_rms": (difference.pow(2).sum() / expected.double().pow(2).sum()).sqrt().item(),
        "mean_abs": difference.mean().item(),
        "max_abs": difference.max().item(),
    }


def decodes(folder, dtype):
    kind = KINDS[class_of(folder)]
    vae = kind.from_pretrained(folder, torch_dtype=dtype, low_cpu_mem_usage=False).eval()
    z = load_file(folder / "latents.safetensors")["latents"].to(dtype)
    return {"whole": vae.decode(z).sample, "tiled": vae.tiled_decode(z).sample}


@torch.no_grad()
def main():
    # Golden checkpoints have no encoder, and diffusers warns of each weight that it makes up.
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only")
    only = parser.parse_args().only
    file = HERE / "half_errors.json"
    errors = json.loads(file.read_text()) if only else {"float16": {}, "bfloat16": {}}
    for folder in sorted(path.parent for path in HERE.glob("*/config.json")):
        if class_of(folder) not in KINDS or only not in (None, folder.name):
            continue
        expected = load_file(folder / "expected.safetensors")
        for name, picture in decodes(folder, torch.float32).items():
            # Else the error in half precision would be measured against another decoder's picture.
            off = error(picture, expected[name])
            assert off["max_abs"] <= 2e-4 * max(1, expected[name].abs().max()), (folder, name, off)
        for dtype, by_folder in errors.items():
            pictures = decodes(folder, getattr(torch, dtype))
            by_folder[folder.name] = {
                name: error(picture, expected[name]) for name, picture in pictures.items()}
            print(dtype, folder.name, by_folder[folder.name])
    file.write_text(json.dumps(errors, indent=2) + "\n")


if __name__ == "__main__":
    main()
