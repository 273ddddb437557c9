"""Writes the files of this folder, with NumPy's and safetensors' own writers.

    pip install numpy ml_dtypes safetensors
    python make.py

Element i (in C order) of shape (2, 3, 2, 4) or (3, 2, 4) is (i - 5) / 4, exact in every type here.
"""
import pathlib

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent


def values(shape):
    return ((np.arange(np.prod(shape)) - 5) / 4).reshape(shape)


def npy(name, dtype, shape=(2, 3, 2, 4), order="C", version=None):
    with open(HERE / f"{name}.npy", "wb") as file:
        np.lib.format.write_array(file, np.asarray(values(shape), dtype=dtype, order=order), version)


npy("f4", "<f4")
npy("f4_big_endian", ">f4")
npy("f2_fortran", "<f2", order="F")
npy("f8_3d", "<f8", shape=(3, 2, 4))
npy("f8_3d_fortran_big_endian", ">f8", shape=(3, 2, 4), order="F")
npy("f4_version_2", "<f4", version=(2, 0))
npy("f4_version_3_fortran", "<f4", order="F", version=(3, 0))
npy("bfloat16", ml_dtypes.bfloat16)

latents = values((2, 3, 2, 4)).astype("f4")
save_file({"latents": latents}, HERE / "f4.safetensors")
save_file({"latents": latents.astype(ml_dtypes.bfloat16)}, HERE / "bf16.safetensors")
save_file({"latent_tensor": latents, "latent_format_version_0": np.zeros(0, "f4")}, HERE / "comfy.latent")
save_file({"latent_tensor": latents}, HERE / "comfy_old.latent")
