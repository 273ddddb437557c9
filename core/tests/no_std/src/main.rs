//! A program without std, without an allocator and without a C library that plans a decode and
//! exits with a status derived from the plan.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use halovae_core::*;

/// Tiles of FLUX.1 at 2048 x 1536 pixels (6), the pieces of the busiest of four ranks (2) and the
/// terms of the busiest block (4): 64.
fn status() -> Result<u8, PlanError> {
    let axis = AxisTiling::Overlap {
        tile_sample_min_size: 1024,
        tile_latent_min_size: 128,
        tile_overlap_factor: 0.25,
    };
    let tiling = Tiling::new(axis, axis, 8);
    let grid = TileGrid::new(Direction::Decode, Size::new(256, 192), &tiling)?;
    let plan = Plan::tiled(grid);

    let (mut costs, mut owners, mut order) = ([0; 6], [0; 6], [0; 6]);
    let mut loads = [RankLoad::default(); 4];
    piece_costs(&plan, &WorkModel::default(), &mut costs)?;
    largest_first(&costs, &mut owners, &mut order, &mut loads)?;
    let mut estimates = [RankEstimate::default(); 4];
    estimate_ranks(&plan, &owners, &WorkModel::default(), &mut estimates)?;

    let busiest = estimates.iter().map(|rank| rank.pieces).max().unwrap_or(0);
    let deepest = plan.bands().flat_map(|band| band.blocks()).map(|block| block.term_count());
    let terms = deepest.max().unwrap_or(0);
    Ok((plan.piece_count() * 10 + u64::from(terms)) as u8 * u8::from(busiest == 2))
}

// The kernel enters without a return address on the stack, which a function could not expect.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "and rsp, -16", "call {}", sym entry);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "bl {}", sym entry);

extern "C" fn entry() -> ! {
    exit(status().unwrap_or(1))
}

/// What the compiler asks of every platform to copy larger values; a C library would have it.
///
/// # Safety
/// Both are valid for `len` bytes and do not overlap.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    for at in 0..len {
        // SAFETY: the caller's promise; `at` is below `len`.
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}

/// Leaves through the kernel, as nothing was started that would have to be ended.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn exit(status: u8) -> ! {
    // SAFETY: system call 231, exit_group, takes the status in rdi, touches no memory and does not
    // return.
    unsafe {
        core::arch::asm!(
            "syscall",
            in("rax") 231,
            in("rdi") u64::from(status),
            options(noreturn, nostack),
        )
    }
}

/// Leaves through the kernel, as nothing was started that would have to be ended.
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn exit(status: u8) -> ! {
    // SAFETY: system call 94, exit_group, takes the status in x0, touches no memory and does not
    // return.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") 94,
            in("x0") u64::from(status),
            options(noreturn, nostack),
        )
    }
}
