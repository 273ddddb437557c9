//! From any config to a decoder, its fusion and its analysis at any size.

#![no_main]

use std::collections::HashSet;

use halovae_core::{ShardGrid, Size};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::{AutoencoderKlConfig, VaeConfig};
use halovae_engine::conformance::{RandomWeights, Reference};
use halovae_engine::execute::execute;
use halovae_engine::model::Model as _;
use halovae_engine::program::{
    Analysis, Geometry, Liveness, MemoryModel, Op, Program, ReceptiveField, ValueId, fuse,
};
use halovae_engine::shard::{Cut, Traffic, peak_bytes};
use halovae_engine::tensor::{HostTensor, Shape};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// Fusion looks at every op for every op; beyond that many resnets it takes long, not other paths.
const MAX_RESNETS: u32 = 32;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(u8),
    Any(u32),
}

impl Number {
    fn get(self) -> u32 {
        match self {
            Self::Small(number) => number.into(),
            Self::Any(number) => number,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    channels: Vec<Number>,
    groups: Number,
    /// Most channels divide by no number of groups; these do.
    channels_per_group: bool,
    latent_channels: Number,
    out_channels: Number,
    layers: Number,
    sample_size: [Number; 2],
    post_quant_conv: bool,
    attention: bool,
    height: Number,
    width: Number,
    batch: u8,
    /// Which fusions the backend takes.
    accepted: u64,
    /// Which operand an output takes the memory of.
    reused: u64,
    workspace: u64,
}

impl Input {
    fn config(&self) -> AutoencoderKlConfig {
        let groups = self.groups.get();
        let factor = if self.channels_per_group { groups } else { 1 };
        AutoencoderKlConfig {
            block_out_channels: self
                .channels
                .iter()
                .map(|c| c.get().wrapping_mul(factor))
                .collect(),
            norm_num_groups: groups,
            latent_channels: self.latent_channels.get(),
            out_channels: self.out_channels.get(),
            layers_per_block: self.layers.get(),
            sample_size: self.sample_size.map(Number::get),
            use_post_quant_conv: self.post_quant_conv,
            mid_block_add_attention: self.attention,
            ..AutoencoderKlConfig::default()
        }
    }
}

/// A memory model that takes the memory of any operand that is as large, and any workspace.
struct Model<'a>(&'a Input);

impl MemoryModel for Model<'_> {
    fn in_place(&self, program: &Program, op: &Op) -> Option<ValueId> {
        let pick = (self.0.reused >> (op.output().index() % 61)) as usize % 4;
        let kind = |id| program.value(id).kind;
        op.inputs().nth(pick).filter(|&id| kind(id) == kind(op.output()))
    }

    fn workspace_bytes(&self, _: &Program, _: &Op, _: &dyn Fn(ValueId) -> Shape) -> u64 {
        self.0.workspace
    }

    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        program.weight_bytes()
    }
}

fuzz_target!(|input: Input| {
    let config = input.config();
    if config.validate().is_err() {
        return;
    }
    let levels = config.block_out_channels.len() as u32;
    if (config.layers_per_block + 1) * levels > MAX_RESNETS {
        return;
    }
    let plain = match config.decoder() {
        Ok(program) => program,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            return;
        }
    };
    well_formed(&plain);
    assert_eq!(plain.latent_channels(), config.latent_channels);
    assert_eq!(plain.out_channels(), config.out_channels);
    assert_eq!(plain.scale(), config.scale());
    let names: HashSet<_> = plain.weights().iter().map(|spec| &spec.name).collect();
    assert_eq!(names.len(), plain.weights().len(), "a weight that is read twice");

    let accepted = |_: &Program, op: &Op| input.accepted >> (op.output().index() % 64) & 1 == 1;
    let fused = fuse(&plain, accepted);
    well_formed(&fused);
    assert!(fused.ops().len() <= plain.ops().len());
    assert_eq!(fused.output(), plain.output());
    if levels <= 6 {
        assert_eq!(ReceptiveField::new(&fused), ReceptiveField::new(&plain));
    }
    at_a_size(&input, &plain, &fused);
    if is_small(&config) {
        same_picture(&input, &plain, &fused);
    }
});

/// Every value is written once, before it is read.
fn well_formed(program: &Program) {
    let mut written = HashSet::from([program.input()]);
    for op in program.ops() {
        assert!(op.inputs().all(|value| written.contains(&value)), "{op:?} reads too early");
        assert!(written.insert(op.output()), "{op:?} writes again");
    }
    assert!(written.contains(&program.output()));
}

fn at_a_size(input: &Input, plain: &Program, fused: &Program) {
    let latents = Size::new(input.height.get(), input.width.get());
    let batch = usize::from(input.batch);
    let model = Model(input);
    let geometry = Geometry::new(plain, batch, latents);
    let fused_geometry = Geometry::new(fused, batch, latents);
    let picture = geometry.shape(plain.output());
    assert_eq!(picture, fused_geometry.shape(fused.output()));
    let scale = plain.scale() as usize;
    assert_eq!(picture.height, latents.height as usize * scale);
    assert_eq!(picture.width, latents.width as usize * scale);
    let [of_plain, of_fused] = [plain, fused].map(|p| Analysis::new(p, latents, &model));
    assert_eq!(of_plain.flops, of_fused.flops);
    assert!(of_plain.attention_flops <= of_plain.flops);
    for (program, geometry) in [(plain, &geometry), (fused, &fused_geometry)] {
        let peak = Liveness::new(program).peak_bytes(program, geometry, &model);
        assert!(peak >= picture.bytes());
        assert!(peak >= input.workspace);
        // Cut into shards: each op is in one segment, and what a rank holds can be told.
        let bands = [latents.height, latents.width].map(|extent| extent.min(2));
        let Ok(grid) = ShardGrid::new(latents, bands[0], bands[1], program.scale()) else {
            continue;
        };
        let cut = Cut::new(program, grid, u32::from(input.batch)).expect("same-size convs");
        let mut next = 0;
        for segment in cut.segments() {
            assert!(segment.ops.start == next && segment.ops.end > next, "{segment:?}");
            next = segment.ops.end;
        }
        assert_eq!(next, program.ops().len());
        let some = peak_bytes(program, &cut, 0, &model, Some(input.workspace));
        assert!(some >= input.workspace);
        let traffic = Traffic::new(program, grid).expect("same-size convs");
        assert!(grid.len() > 1 || traffic.bytes() == 0);
    }
}

fn is_small(config: &AutoencoderKlConfig) -> bool {
    config.block_out_channels.len() <= 3
        && config.block_out_channels.iter().all(|&channels| channels <= 8)
        && config.layers_per_block <= 2
        && config.latent_channels <= 8
        && config.out_channels <= 8
}

/// Fused or not, a program means the same.
fn same_picture(input: &Input, plain: &Program, fused: &Program) {
    let [height, width] = [input.height, input.width].map(|extent| extent.get() as usize % 4 + 1);
    let shape = Shape::new(1, height, width, plain.latent_channels() as usize);
    let mut latents = HostTensor::zeros(shape).expect("memory for a few values");
    let values = latents.data_mut().iter_mut().enumerate();
    values.for_each(|(index, value)| *value = (index as f32 * 0.7).sin());
    let weights = RandomWeights { seed: input.accepted };
    let [plain, fused] = [plain, fused].map(|program| {
        let weights = Reference.prepare(program, &weights).expect("random weights");
        let latents = Reference.upload(&latents).expect("an upload");
        let output = execute(&Reference, program, &weights, latents, |_| Ok::<(), ()>(()));
        let output = output.expect("a decode");
        let shape = Reference.shape(&output);
        let whole = Size::new(shape.height as u32, shape.width as u32).at_origin();
        Reference.download(&output, whole).expect("a download")
    });
    for (plain, fused) in plain.data().iter().zip(fused.data()) {
        assert!((plain - fused).abs() <= 1e-5 * plain.abs().max(1.0), "{plain} and {fused}");
    }
}
