//! Speed of the convolutions of a full-size decoder (channels 512, 512, 256, 128; latents 64x64)
//! against the machine's measured peak, each way of computing them, and nine products by the `gemm`
//! crate. GFLOP/s count the operations of the plain convolution, so a transform can exceed the peak.
//!
//! `cargo bench -p halovae-cpu --bench conv -- [threads] [repetitions] [images | videos]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::hint::black_box;
use std::time::Instant;

use halovae_cpu::kernels::{
    Algorithm, Buffer, Conv, ConvInput, ConvShape, Edge, Level, Margins, Prologue, Workspace,
};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Height and width of a frame, channels in and out, kernel, doubled, output frames, and how many of
/// the image decoder (0 for those of video decoders).
type Case = ([usize; 2], [usize; 2], [usize; 3], bool, usize, usize);

const IMAGES: &[Case] = &[
    ([64, 64], [16, 512], [1, 3, 3], false, 1, 1),
    ([64, 64], [512, 512], [1, 3, 3], false, 1, 10),
    ([64, 64], [512, 512], [1, 1, 1], false, 1, 4),
    ([64, 64], [512, 512], [1, 3, 3], true, 1, 1),
    ([128, 128], [512, 512], [1, 3, 3], false, 1, 6),
    ([128, 128], [512, 512], [1, 3, 3], true, 1, 1),
    ([256, 256], [512, 256], [1, 3, 3], false, 1, 1),
    ([256, 256], [512, 256], [1, 1, 1], false, 1, 1),
    ([256, 256], [256, 256], [1, 3, 3], false, 1, 5),
    ([256, 256], [256, 256], [1, 3, 3], true, 1, 1),
    ([512, 512], [256, 128], [1, 3, 3], false, 1, 1),
    ([512, 512], [256, 128], [1, 1, 1], false, 1, 1),
    ([512, 512], [128, 128], [1, 3, 3], false, 1, 5),
    ([512, 512], [128, 3], [1, 3, 3], false, 1, 1),
];

/// Those of Wan 2.1's decoder.
const VIDEOS: &[Case] = &[
    ([64, 64], [16, 384], [3, 3, 3], false, 1, 0),
    ([32, 32], [384, 384], [3, 3, 3], false, 1, 0),
    ([64, 64], [384, 384], [3, 3, 3], false, 1, 0),
    ([64, 64], [384, 384], [3, 3, 3], false, 4, 0),
    ([64, 64], [384, 768], [3, 1, 1], false, 1, 0),
    ([64, 64], [384, 768], [3, 1, 1], false, 4, 0),
    ([128, 128], [384, 384], [3, 3, 3], false, 1, 0),
    ([128, 128], [384, 384], [3, 3, 3], false, 4, 0),
    ([128, 128], [384, 192], [1, 3, 3], true, 4, 0),
    ([256, 256], [192, 192], [3, 3, 3], false, 1, 0),
    ([256, 256], [192, 192], [3, 3, 3], false, 4, 0),
    ([480, 832], [96, 96], [3, 3, 3], false, 1, 0),
    ([480, 832], [96, 96], [3, 3, 3], false, 4, 0),
    ([480, 832], [96, 3], [3, 3, 3], false, 1, 0),
    ([480, 832], [96, 3], [3, 3, 3], false, 4, 0),
];

fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 - 0.5
        })
        .collect()
}

#[cfg(target_arch = "x86_64")]
mod peak {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub(crate) fn avx512(n: usize) -> f32 {
        let (x, y) = (_mm512_set1_ps(0.999), _mm512_set1_ps(1e-9));
        let mut a = [_mm512_set1_ps(1.0); 16];
        for _ in 0..n {
            for v in &mut a {
                *v = _mm512_fmadd_ps(*v, x, y);
            }
        }
        a.into_iter().map(|v| _mm512_reduce_add_ps(v)).sum()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(crate) fn avx2(n: usize) -> f32 {
        let (x, y) = (_mm256_set1_ps(0.999), _mm256_set1_ps(1e-9));
        let mut a = [_mm256_set1_ps(1.0); 12];
        for _ in 0..n {
            for v in &mut a {
                *v = _mm256_fmadd_ps(*v, x, y);
            }
        }
        a.into_iter().map(|v| _mm256_cvtss_f32(v)).sum()
    }
}

/// Seconds that this process's threads have run, added up: what a shared machine did to others does
/// not count. Wall time where the system does not tell.
fn cpu_seconds(start: Instant, threads: usize) -> f64 {
    let run = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task");
    let total: Option<u64> =
        tasks.ok().and_then(|all| all.map(|task| task.ok().and_then(|t| run(t.path()))).sum());
    match total {
        Some(nanoseconds) => nanoseconds as f64 / 1e9,
        None => start.elapsed().as_secs_f64() * threads as f64,
    }
}

/// Multiply-adds per second of registers alone, times two: GFLOP/s of one thread, by CPU time.
fn peak(pool: &ThreadPool, level: Level) -> f64 {
    let n = 2_000_000;
    let start = Instant::now();
    let before = cpu_seconds(start, pool.current_num_threads());
    let flops: Vec<usize> = pool.broadcast(|_| match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: the level was detected.
            black_box(unsafe { peak::avx512(black_box(n)) });
            n * 16 * 16 * 2
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: the level was detected.
            black_box(unsafe { peak::avx2(black_box(n)) });
            n * 12 * 8 * 2
        }
        _ => {
            let mut a = [1.0f32; 64];
            for _ in 0..n / 8 {
                for v in &mut a {
                    *v = *v * 0.999 + 1e-9;
                }
            }
            black_box(a);
            n / 8 * 64 * 2
        }
    });
    let seconds = cpu_seconds(start, pool.current_num_threads()) - before;
    flops.iter().sum::<usize>() as f64 / seconds / 1e9
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Nine (or one) products of shifted rows by the `gemm` crate, without prologue or padding: what
/// an implicit convolution on that crate costs at least. For images.
fn gemm_crate(threads: usize, case: &Case, x: &[f32], w: &[f32], out: &mut [f32]) {
    let &([height, width], [cin, cout], [_, k, _], ..) = case;
    let parallel =
        if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    let rows = (height - k + 1) * width - (k - 1);
    for tap in 0..k * k {
        let shift = (tap / k * width + tap % k) * cin;
        // SAFETY: `rows` pixels from the last tap's shift on lie within the image.
        unsafe {
            gemm::gemm(
                rows,
                cout,
                cin,
                out.as_mut_ptr(),
                1,
                cout as isize,
                tap > 0,
                x.as_ptr().add(shift),
                1,
                cin as isize,
                w.as_ptr().add(tap * cin * cout),
                1,
                cout as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                parallel,
            );
        }
    }
}

/// What all measurements share.
struct Machine {
    pool: ThreadPool,
    level: Level,
    threads: usize,
    repetitions: usize,
    workspace: Workspace,
}

/// Medians: wall and CPU seconds, and the share of the peak.
struct Measured {
    seconds: f64,
    cpu: f64,
    share: f64,
}

impl Machine {
    /// Runs `work`, which is so many operations, again and again.
    fn measure(
        &mut self,
        flops: f64,
        mut work: impl FnMut(&ThreadPool, &mut Workspace),
    ) -> Measured {
        let (mut times, mut shares, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
        for repetition in 0..=self.repetitions {
            let top = peak(&self.pool, self.level);
            let start = Instant::now();
            let before = cpu_seconds(start, self.threads);
            work(&self.pool, &mut self.workspace);
            let seconds = start.elapsed().as_secs_f64();
            let cpu = cpu_seconds(start, self.threads) - before;
            // The first run touches fresh memory.
            if repetition > 0 {
                times.push(seconds);
                shares.push(flops / cpu / 1e9 / top);
                cpus.push(cpu);
            }
        }
        Measured { seconds: median(times), cpu: median(cpus), share: median(shares) }
    }

    /// Prints a line for each way to compute the case; gives the operations and what the chosen way
    /// takes.
    fn run(&mut self, case: &Case) -> (f64, Measured) {
        let &(size, [cin, cout], kernel, upsample, outputs, count) = case;
        let [time, k, _] = kernel;
        let upsample_by = if upsample { 2 } else { 1 };
        let shape = ConvShape {
            in_channels: cin,
            out_channels: cout,
            kernel,
            stride: [1, 1],
            upsample: upsample_by,
        };
        let padding = Margins::of_frame([k / 2; 4]);
        let pixels = size[0] * size[1];
        let x: Vec<Vec<f32>> =
            (0..outputs + time - 1).map(|f| values(pixels * cin, 1 + f as u32)).collect();
        let frames: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
        let taps: Vec<Option<usize>> =
            (0..outputs).flat_map(|output| (output..output + time).map(Some)).collect();
        let w = values(cin * cout * time * k * k, 2);
        let bias = values(cout, 3);
        let (scale, shift) = (values(cin, 4), values(cin, 5));
        let factors = values(pixels, 6);
        let factors: Vec<&[f32]> = frames.iter().map(|_| factors.as_slice()).collect();
        let prologue = match k == 3 && !upsample && cin > 16 {
            true if time == 1 => Prologue::AffineSilu { scale: &scale, shift: &shift },
            true => Prologue::Positions { factors: &factors, gamma: Some(&scale), silu: true },
            false => Prologue::None,
        };
        let [oh, ow] = shape.output_size(size, &padding).expect("it fits");
        let flops = (2 * outputs * oh * ow * w.len()) as f64;
        let mut out = Buffer::new(outputs * oh * ow * cout).expect("memory");
        let conv = |way| Conv::prepare_for(self.level, shape, &w, Some(&bias), way).ok();
        let chosen = Conv::prepare(self.level, shape, &w, Some(&bias)).expect("a valid shape");
        let mut ways = vec![("chosen", Some(chosen))];
        if time * cin * cout <= 256 * 256 || upsample {
            ways.push(("direct", conv(Algorithm::Direct)));
        }
        if k == 3 && !upsample {
            ways.push(("winograd", conv(Algorithm::Winograd43)));
        }
        if !upsample && time == 1 {
            ways.push(("gemm crate", None));
        }
        let mut first = None;
        for (name, conv) in ways {
            let threads = self.threads;
            let measured = self.measure(flops, |pool, workspace| match &conv {
                Some(conv) => {
                    let input = ConvInput {
                        frames: &frames,
                        taps: &taps,
                        size,
                        padding,
                        edges: [Edge::Zeros; 2],
                        prologue,
                        residual: None,
                    };
                    conv.run(pool, workspace, input, None, out.uninit()).expect("it runs");
                }
                None => {
                    let len = out.len();
                    // SAFETY: an earlier way has written all of it.
                    let out = unsafe {
                        std::slice::from_raw_parts_mut(out.uninit().as_mut_ptr().cast(), len)
                    };
                    pool.install(|| gemm_crate(threads, case, &x[0], &w, out));
                }
            });
            println!(
                "{:>3}x{:<3} {cin:>4} {cout:>4} {time}x{k}x{k} {:>2} {outputs:>2} {count:>4} | {name:<10} {:>8.0} {:>8.2} {:>8.2} {:>8.2}",
                size[0],
                size[1],
                if upsample { "x2" } else { "" },
                flops / measured.seconds / 1e9,
                measured.share,
                measured.seconds * 1e3,
                measured.cpu * 1e3,
            );
            first.get_or_insert(measured);
        }
        (flops, first.expect("one way at least"))
    }
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let wanted = |what: &str| std::env::args().any(|a| a == what);
    let threads = numbers.first().copied().unwrap_or(2);
    let repetitions = numbers.get(1).copied().unwrap_or(5);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
    let level = Level::detect();
    println!(
        "{} on {threads} threads, peak {:.0} GFLOP/s a thread",
        level.name(),
        peak(&pool, level)
    );
    let workspace = Workspace::new();
    let mut machine = Machine { pool, level, threads, repetitions, workspace };
    println!(
        "  size   cin cout kernel up frames n | way         GFLOP/s  of peak       ms   cpu ms"
    );
    if !wanted("images") {
        for case in VIDEOS {
            machine.run(case);
        }
    }
    if !wanted("videos") {
        let (mut best, mut best_cpu, mut flops_all) = (0.0, 0.0, 0.0);
        for case in IMAGES {
            let (flops, measured) = machine.run(case);
            let count = case.5 as f64;
            best += measured.seconds * count;
            best_cpu += measured.cpu * count;
            flops_all += flops * count;
        }
        println!(
            "all convolutions of images as chosen: {best:.3} s, {:.0} GFLOP/s; {best_cpu:.3} s of CPU time, {:.0} GFLOP/s a thread",
            flops_all / best / 1e9,
            flops_all / best_cpu / 1e9
        );
    }
}
