//! What is done to tensors before they go and after they have come.

use std::rc::Rc;

use halovae_core::Region;
use halovae_engine::backend::BackendError;
use halovae_engine::tensor::Shape;

use crate::backend::CudaBackend;
use crate::kernels::{Element, Kernel};
use crate::params::{CopyRows, StatsJoin};
use crate::value::Value;

/// Bytes that a thread of `copy_rows` copies: channels are filled up to as many.
const UNIT: u64 = 16;

/// Statistics of a part, as the kernel reads them.
#[derive(Clone, Copy)]
#[repr(C)]
struct PartStats {
    stats: u64,
    count: f64,
}

/// Copies rows of `from` that begin at a position of one value, in rows of another.
fn copy_rows(
    backend: &CudaBackend,
    [from, to]: [(&Value, usize); 2],
    height: usize,
    width: usize,
) -> Result<(), BackendError> {
    let units = from.0.position_bytes() / UNIT;
    let count = (height * width) as u64 * units;
    let params = CopyRows {
        input: from.0.at(from.1),
        out: to.0.at(to.1),
        count: count as u32,
        units: units as u32,
        width: width as u32,
        in_width: from.0.shape.width as u32,
        out_width: to.0.shape.width as u32,
    };
    backend.store().over(Kernel::CopyRows, &params, count)
}

/// Rows and columns of every sample, as a feature map of their own.
pub(super) fn cut(
    backend: &CudaBackend,
    tensor: &Value,
    region: Region,
) -> Result<Value, BackendError> {
    let tensor = backend.feature("what goes to another rank", tensor)?;
    let Shape { batch, height, width, channels, .. } = tensor.shape;
    let [rows, columns] = [region.height as usize, region.width as usize];
    let [top, left] = [region.top as usize, region.left as usize];
    assert!(
        top + rows <= height && left + columns <= width,
        "region {region:?} lies outside a tensor of {}",
        tensor.shape
    );
    let shape = Shape::new(batch, rows, columns, channels);
    let out = backend.store().value("what goes to another rank", shape)?;
    for sample in 0..batch {
        let from = (sample * height + top) * width + left;
        copy_rows(backend, [(&tensor, from), (&out, sample * rows * columns)], rows, columns)?;
    }
    Ok(out)
}

/// A feature map of parts that cover it.
pub(super) fn join(
    backend: &CudaBackend,
    shape: Shape,
    mut parts: Vec<(Region, Rc<Value>)>,
) -> Result<Value, BackendError> {
    let area: u64 = parts.iter().map(|(rect, _)| rect.area()).sum();
    assert_eq!(area, (shape.height * shape.width) as u64, "parts cover the whole");
    if parts.len() == 1 {
        let (rect, part) = parts.remove(0);
        match Rc::try_unwrap(part) {
            Ok(part) => return Ok(part),
            Err(part) => parts.push((rect, part)),
        }
    }
    let out = backend.store().value("a halo", shape)?;
    for (rect, part) in &parts {
        let at = rect.top as usize * shape.width + rect.left as usize;
        let [rows, columns] = [rect.height as usize, rect.width as usize];
        copy_rows(backend, [(part, 0), (&out, at)], rows, columns)?;
    }
    Ok(out)
}

/// The statistics of a whole, of those of its parts and their counts.
pub(super) fn merge(
    backend: &CudaBackend,
    parts: &[(f64, Rc<Value>)],
) -> Result<Value, BackendError> {
    const WHAT: &str = "merged statistics";
    let store = backend.store();
    let shape = parts[0].1.shape;
    let out = store.value_of(WHAT, shape, Element::F32)?;
    let stats = |(count, value): &(f64, Rc<Value>)| {
        assert_eq!(value.element, Element::F32, "statistics are f32");
        PartStats { stats: value.pointer(), count: *count }
    };
    let table: Vec<PartStats> = parts.iter().map(stats).collect();
    let block = store.block(WHAT, size_of_val(table.as_slice()) as u64)?;
    store.write(block.pointer(), &table)?;
    let groups = (shape.batch * shape.height) as u32;
    let params = StatsJoin {
        parts: block.pointer(),
        stats: out.pointer(),
        count: parts.len() as u32,
        groups,
    };
    store.over(Kernel::StatsJoin, &params, groups.into())?;
    Ok(out)
}
