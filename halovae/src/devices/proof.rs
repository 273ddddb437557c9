//! An automatically chosen device must first reproduce the CPU's result: it decodes small images
//! as the CPU does, or is passed over. Drivers and their compilers have bugs, and so may kernels that
//! were never tried on that GPU.

use halovae_engine::backend::{Backend, BackendError};
use halovae_engine::conformance::deviation;
use halovae_engine::program::{Program, fuse};

use super::set::{Devices, cpu};
use crate::error::Error;
use crate::options::Dtype;

/// Nothing, if the first of the devices can run the program, and computes as the CPU does.
///
/// # Errors
/// [`Error::Device`] that says what it cannot do, how far it is off, or what the device said.
#[cfg_attr(
    not(any(feature = "cuda", feature = "wgpu")),
    expect(unused_variables, reason = "there is nothing but the CPU")
)]
pub(crate) fn check(devices: &Devices, dtype: Dtype, program: &Program) -> Result<(), Error> {
    // Relative rms over a whole decoder; rounding alone stays far below.
    let allowed = match dtype {
        Dtype::F32 => 1e-3,
        Dtype::F16 | Dtype::Bf16 => 5e-2,
    };
    match devices {
        Devices::Cpu(_) => Ok(()),
        #[cfg(feature = "cuda")]
        Devices::Cuda(backends) => {
            can_run(&backends[0], program).and_then(|()| compare(&backends[0], allowed))
        }
        #[cfg(feature = "wgpu")]
        Devices::Wgpu(backends) => {
            can_run(&backends[0], program).and_then(|()| compare(&backends[0], allowed))
        }
    }
}

#[cfg_attr(
    not(any(feature = "cuda", feature = "wgpu", test)),
    expect(dead_code, reason = "there is nothing but the CPU")
)]
fn can_run(backend: &impl Backend, program: &Program) -> Result<(), Error> {
    let fused = fuse(program, |program, op| backend.supports(program, op));
    match fused.ops().iter().find(|op| !backend.supports(&fused, op)) {
        None => Ok(()),
        Some(op) => Err(BackendError::unsupported(backend.name(), op).into()),
    }
}

#[cfg_attr(
    not(any(feature = "cuda", feature = "wgpu", test)),
    expect(dead_code, reason = "there is nothing but the CPU")
)]
fn compare(backend: &impl Backend, allowed: f64) -> Result<(), Error> {
    let off = deviation(&cpu(1)?, backend).map_err(|error| {
        Error::Device(format!("a trial on {} failed: {error}", backend.description()))
    })?;
    // Written so that no number is no proof either.
    if off <= allowed {
        return Ok(());
    }
    Err(Error::Device(format!(
        "{} does not compute as the CPU does (relative rms {off:.1e} on a trial)",
        backend.description()
    )))
}

#[cfg(test)]
mod tests {
    use halovae_engine::wrap::{Fault, FaultKind, Faulty, Traced};

    use super::*;

    #[test]
    fn what_computes_otherwise_is_passed_over() {
        let with = |fault| Faulty::new(super::super::set::cpu(1).unwrap(), fault);
        compare(&with(None), 1e-6).unwrap();
        let traced = Traced::new(super::super::set::cpu(1).unwrap(), true).unwrap();
        compare(&traced, 1e-6).unwrap();
        let records = traced.take_records().unwrap();
        // However many ops there are, they are added up by kind.
        let kinds: std::collections::BTreeSet<_> = records.iter().map(|op| op.kind).collect();
        assert_eq!(kinds.len(), records.len());
        let ops: u64 = records.iter().map(|op| op.count).sum();
        // The last is in the last image.
        for after_ops in [0, 3, 10, ops - 5] {
            let wrong = with(Some(Fault { after_ops, kind: FaultKind::Wrong }));
            let error = compare(&wrong, 1e-3).unwrap_err().to_string();
            assert!(error.contains("does not compute as the CPU does"), "{error}");
        }
        let failing = with(Some(Fault { after_ops: 1, kind: FaultKind::Error }));
        let error = compare(&failing, 1e-3).unwrap_err().to_string();
        assert!(error.contains("injected"), "{error}");
    }
}
