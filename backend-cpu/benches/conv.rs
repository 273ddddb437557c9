//! Speed of the convolutions of a full-size decoder (channels 512, 512, 256, 128; latents 64x64)
//! against the machine's measured peak, each way of computing them, and nine products by the `gemm`
//! crate. GFLOP/s count the operations of the plain convolution, so a transform can exceed the peak.
//!
//! `cargo bench -p halovae-cpu --bench conv -- [threads] [repetitions]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::hint::black_box;
use std::time::Instant;

use halovae_cpu::kernels::{
    Algorithm, Buffer, Conv, ConvInput, ConvShape, Level, Margins, Prologue, Workspace,
};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Side of the input, channels in and out, kernel, doubled, how many in the decoder.
const SHAPES: &[(usize, usize, usize, usize, bool, usize)] = &[
    (64, 16, 512, 3, false, 1),
    (64, 512, 512, 3, false, 10),
    (64, 512, 512, 1, false, 4),
    (64, 512, 512, 3, true, 1),
    (128, 512, 512, 3, false, 6),
    (128, 512, 512, 3, true, 1),
    (256, 512, 256, 3, false, 1),
    (256, 512, 256, 1, false, 1),
    (256, 256, 256, 3, false, 5),
    (256, 256, 256, 3, true, 1),
    (512, 256, 128, 3, false, 1),
    (512, 256, 128, 1, false, 1),
    (512, 128, 128, 3, false, 5),
    (512, 128, 3, 3, false, 1),
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
/// an implicit convolution on that crate costs at least.
fn gemm_crate(
    threads: usize,
    [side, cin, cout, k]: [usize; 4],
    x: &[f32],
    w: &[f32],
    out: &mut [f32],
) {
    let parallel =
        if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    let rows = (side - k + 1) * side - (k - 1);
    for tap in 0..k * k {
        let shift = (tap / k * side + tap % k) * cin;
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

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(2);
    let repetitions = numbers.get(1).copied().unwrap_or(5);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
    let level = Level::detect();
    println!(
        "{} on {threads} threads, peak {:.0} GFLOP/s a thread",
        level.name(),
        peak(&pool, level)
    );
    println!("  size   cin  cout k up    n | way         GFLOP/s  of peak       ms   cpu ms");
    let (mut best, mut best_cpu, mut flops_all) = (0.0, 0.0, 0.0);
    for &(side, cin, cout, k, upsample, count) in SHAPES {
        let shape = ConvShape {
            in_channels: cin,
            out_channels: cout,
            kernel: [1, k, k],
            stride: [1, 1],
            upsample: if upsample { 2 } else { 1 },
        };
        let padding = Margins::of_frame([k / 2; 4]);
        let x = Buffer::from_slice(&values(side * side * cin, 1)).expect("memory");
        // SAFETY: made from a slice.
        let x = unsafe { x.assume_init() };
        let w = values(cin * cout * k * k, 2);
        let bias = values(cout, 3);
        let (scale, shift) = (values(cin, 4), values(cin, 5));
        let prologue = if k == 3 && !upsample && cin > 16 {
            Prologue::AffineSilu { scale: &scale, shift: &shift }
        } else {
            Prologue::None
        };
        let [oh, ow] = shape.output_size([side, side], &padding).expect("it fits");
        let flops = (2 * oh * ow * cin * cout * k * k) as f64;
        let mut out = Buffer::new(oh * ow * cout).expect("memory");
        let mut ways = vec![(
            "chosen",
            Some(Conv::prepare(level, shape, &w, Some(&bias)).expect("a valid shape")),
        )];
        let direct = Conv::prepare_for(level, shape, &w, Some(&bias), Algorithm::Direct);
        if cin * cout <= 256 * 256 || upsample {
            ways.push(("direct", direct.ok()));
        }
        if k == 3 && !upsample {
            ways.push((
                "winograd",
                Conv::prepare_for(level, shape, &w, Some(&bias), Algorithm::Winograd43).ok(),
            ));
        }
        if !upsample {
            ways.push(("gemm crate", None));
        }
        let mut workspace = Workspace::new();
        let mut first = true;
        for (name, conv) in ways {
            let (mut times, mut shares, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
            for repetition in 0..=repetitions {
                let top = peak(&pool, level);
                let start = Instant::now();
                let before = cpu_seconds(start, threads);
                match &conv {
                    Some(conv) => {
                        let input = ConvInput {
                            frames: &[x],
                            taps: &[Some(0)],
                            size: [side, side],
                            padding,
                            prologue,
                            residual: None,
                        };
                        conv.run(&pool, &mut workspace, input, None, out.uninit())
                            .expect("it runs");
                    }
                    None => {
                        let len = out.len();
                        // SAFETY: an earlier way has written all of it.
                        let out = unsafe {
                            std::slice::from_raw_parts_mut(out.uninit().as_mut_ptr().cast(), len)
                        };
                        pool.install(|| gemm_crate(threads, [side, cin, cout, k], x, &w, out));
                    }
                }
                let seconds = start.elapsed().as_secs_f64();
                let cpu = cpu_seconds(start, threads) - before;
                // The first run touches fresh memory.
                if repetition > 0 {
                    times.push(seconds);
                    shares.push(flops / cpu / 1e9 / top);
                    cpus.push(cpu);
                }
            }
            let (seconds, share, cpu) = (median(times), median(shares), median(cpus));
            if first {
                best += seconds * count as f64;
                best_cpu += cpu * count as f64;
                flops_all += flops * count as f64;
                first = false;
            }
            println!(
                "{side:>4}^2 {cin:>5} {cout:>5} {k} {:>2} {count:>4} | {name:<10} {:>8.0} {:>8.2} {:>8.2} {:>8.2}",
                if upsample { "x2" } else { "" },
                flops / seconds / 1e9,
                share,
                seconds * 1e3,
                cpu * 1e3,
            );
        }
    }
    println!(
        "all convolutions as chosen: {best:.3} s, {:.0} GFLOP/s; {best_cpu:.3} s of CPU time, {:.0} GFLOP/s a thread",
        flops_all / best / 1e9,
        flops_all / best_cpu / 1e9
    );
}
