//! What may be wrong with a file.

use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::file::Tensor;

/// Most axes of a shape.
const MAX_AXES: usize = 7;

/// What names of weights are made of, and what is almost that.
const PARTS: [&str; 48] = [
    "decoder",
    "encoder",
    "post_quant_conv",
    "quant_conv",
    "conv1",
    "conv2",
    "conv_in",
    "conv_out",
    "conv_norm_out",
    "norm_out",
    "head",
    "mid",
    "middle",
    "mid_block",
    "block_1",
    "attn_1",
    "up",
    "up_blocks",
    "upsamples",
    "upsamplers",
    "upsampler",
    "upsample",
    "resample",
    "time_conv",
    "resnets",
    "attentions",
    "block",
    "residual",
    "shortcut",
    "conv_shortcut",
    "to_qkv",
    "proj",
    "q",
    "norm1",
    "gamma",
    "weight",
    "bias",
    "scale_weight",
    "weight_scale",
    "scale_input",
    "conv",
    "0",
    "1",
    "3",
    "15",
    "16",
    "01",
    "4294967295",
];

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Extent {
    Small(u8),
    Any(u64),
}

impl Extent {
    fn get(self) -> u64 {
        match self {
            Self::Small(extent) => extent.into(),
            Self::Any(extent) => extent,
        }
    }
}

/// A change of one tensor.
#[derive(Arbitrary, Debug)]
pub(crate) struct Change {
    /// Which tensor, and where in it.
    at: u16,
    place: u8,
    what: What,
}

#[derive(Arbitrary, Debug)]
enum What {
    Removed,
    Shape(Vec<Extent>),
    Extent(Extent),
    Axis(Extent),
    Dtype(u8),
    /// One part of its name is another.
    Renamed(u8),
    /// It stays, and is there a second time with one part of its name changed.
    Copied(u8),
    Named(Vec<u8>),
    /// It has factors of that shape.
    Scaled(Vec<Extent>),
}

impl Change {
    pub(crate) fn make(&self, tensors: &mut Vec<Tensor>) {
        if tensors.is_empty() {
            return;
        }
        let at = usize::from(self.at) % tensors.len();
        let place = usize::from(self.place);
        let tensor = &mut tensors[at];
        let axis = place % tensor.shape.len().max(1);
        match &self.what {
            What::Removed => {
                tensors.remove(at);
                return;
            }
            What::Shape(extents) => tensor.shape = shape(extents),
            What::Extent(extent) => {
                if let Some(own) = tensor.shape.get_mut(axis) {
                    *own = extent.get();
                }
            }
            What::Axis(extent) => tensor.shape.insert(axis, extent.get()),
            What::Dtype(dtype) => tensor.dtype = *dtype,
            What::Renamed(part) => tensor.name = renamed(&tensor.name, place, *part),
            What::Copied(part) => {
                let name = renamed(&tensor.name, place, *part);
                let copy = Tensor { name, ..tensor.clone() };
                tensors.push(copy);
                return;
            }
            What::Named(parts) => {
                let parts: Vec<_> = parts.iter().take(MAX_AXES).map(|&part| of(part)).collect();
                tensor.name = parts.join(".");
            }
            What::Scaled(extents) => {
                let module = tensor.name.rsplit_once('.').map_or("", |(module, _)| module);
                let name = format!("{module}.scale_weight");
                let mut scale = Tensor { name, dtype: tensor.dtype, shape: shape(extents) };
                scale.make_small(place);
                tensors.push(scale);
                return;
            }
        }
        // Not the axis that was changed, where there is another.
        tensor.make_small(axis + 1);
    }
}

fn shape(extents: &[Extent]) -> Vec<u64> {
    extents.iter().take(MAX_AXES).map(|extent| extent.get()).collect()
}

fn of(part: u8) -> &'static str {
    PARTS[usize::from(part) % PARTS.len()]
}

/// A name with another part in that place.
fn renamed(name: &str, place: usize, part: u8) -> String {
    let mut parts: Vec<_> = name.split('.').collect();
    let place = place % parts.len();
    parts[place] = of(part);
    parts.join(".")
}
