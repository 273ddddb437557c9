"""What the comparisons share: checkpoints, latents, and how processes are measured.

Models have random weights in f32, which diffusers saves once into the cache folder: one of FLUX.1's
shape (block_out_channels 128, 256, 512, 512, two layers, 16 latent channels, no quant convs), that of
HunyuanImage 2.1, and those of Wan 2.1 and Qwen-Image, whose shapes are the defaults of their classes.
"""

import importlib.metadata
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WARM_UP_CELLS = 8
LATENT_CHANNELS = 16
# Slowest over fastest run of one side beyond which a median hides more than it tells.
MAX_SPREAD = 1.25


def peak_rss_bytes():
    """The most memory that this process has held since its exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


# The folder in the cache, and the class in diffusers.
FAMILIES = {"flux": ("flux-shaped-vae", "AutoencoderKL"),
            "hunyuan-image": ("hunyuan-image-vae", "AutoencoderKLHunyuanImage"),
            "wan": ("wan-vae", "AutoencoderKLWan"),
            "qwen-image": ("qwen-image-vae", "AutoencoderKLQwenImage")}


# Where they are no defaults of the class.
SHAPES = {
    "flux": dict(
        block_out_channels=[128, 256, 512, 512],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=2,
        latent_channels=LATENT_CHANNELS,
        sample_size=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False),
    "hunyuan-image": dict(
        in_channels=3,
        out_channels=3,
        latent_channels=64,
        block_out_channels=[128, 256, 512, 512, 1024, 1024],
        layers_per_block=2,
        spatial_compression_ratio=32,
        sample_size=384,
        scaling_factor=0.75289)}


def latent_channels(family):
    return SHAPES.get(family, {}).get("latent_channels", LATENT_CHANNELS)


def save_checkpoint(folder, family="flux"):
    import diffusers
    import torch

    torch.manual_seed(0)
    of_class = getattr(diffusers, FAMILIES[family][1])
    of_class(**SHAPES.get(family, {})).save_pretrained(folder)


def save_latents(path, size, frames=None, channels=LATENT_CHANNELS):
    import numpy

    time = () if frames is None else (frames,)
    shape = (1, channels, *time, size, size)
    numpy.save(path, numpy.random.default_rng(size).standard_normal(shape, dtype=numpy.float32))


def output_of(command, environment, cwd=None):
    """Runs a command; its standard output, and its time by the clock and on the CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    child = subprocess.run(command, stdout=subprocess.PIPE, env=environment, cwd=cwd, text=True)
    if child.returncode != 0:
        sys.exit(f"exit status {child.returncode}: {' '.join(map(str, command))}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return child.stdout, {"process_seconds": time.perf_counter() - start,
                          "process_cpu_seconds": cpu, "load": os.getloadavg()[0]}


def checkpoint(cache, family="flux"):
    """The folder of the checkpoint, saved now if it is not there."""
    vae = cache / FAMILIES[family][0]
    if not (vae / "config.json").exists():
        vae.mkdir(parents=True, exist_ok=True)
        # The config moves last: its presence says that the folder is complete.
        with tempfile.TemporaryDirectory(dir=cache) as partial:
            save_checkpoint(partial, family)
            for file in Path(partial).iterdir():
                if file.name != "config.json":
                    file.rename(vae / file.name)
            (Path(partial) / "config.json").rename(vae / "config.json")
    return vae


def default_cache():
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "halovae"


def default_binary():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "halovae"


def medians(runs):
    """The median of every figure over the runs of one side, and how far its seconds spread."""
    seconds = [run["seconds"] for run in runs]
    result = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return result | {"fastest": min(seconds), "slowest": max(seconds)}


def print_columns(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def warn_of_spread(name, side):
    spread = side["slowest"] / side["fastest"]
    if spread > MAX_SPREAD:
        print(f"warning: the runs of {name} differ by {spread:.1f} x; repeat them on an idle machine"
              " before you use the figures", file=sys.stderr)


def warn_of_load(load):
    if load > 0.5:
        print(f"warning: the load was {load:.1f} before the first run; the figures are those of a"
              " busy machine", file=sys.stderr)


def describe_machine(threads, halovae, packages=("torch", "diffusers")):
    """The machine, and the versions of halovae and of Python packages that the figures depend on."""
    cpu = "unknown"
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines()
                 if line.startswith("model name")]
        cpu = names[0] if names else cpu
    version = subprocess.run([halovae, "--version"], capture_output=True, text=True)
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads,
            "load_before": os.getloadavg()[0],
            "halovae": version.stdout.strip()} | {
                name: importlib.metadata.version(name) for name in packages}
