//! What a backend must do for a decode that is cut over ranks: convs on a part of a feature map
//! with a halo around it, and attention whose keys and values come in blocks.

use std::ops::Range;

use halovae_core::{Axes, Axis, Margins, Region, Window};

use super::case::{Case, assert_close, random_stats, random_tensor, whole};
use super::edges::random_edges;
use super::{Make, Random, Reference, Rounding};
use crate::backend::{Backend, BackendError, Halo, Operand, Operands, Surroundings};
use crate::program::{Conv, Op, ValueId};
use crate::tensor::{HostTensor, Shape};

/// Rows and columns `rect` of all samples.
fn cut(tensor: &HostTensor, rect: Region) -> HostTensor {
    let Shape { batch, channels, .. } = tensor.shape();
    let samples = (0..batch).flat_map(|b| tensor.crop(b, rect).expect("crop").into_data());
    let shape = Shape::new(batch, rect.height as usize, rect.width as usize, channels);
    HostTensor::new(shape, samples.collect()).expect("one element for each place")
}

/// The strips around `part`, cut out of the whole tensor.
fn halo_of(tensor: &HostTensor, part: Region, margins: Margins) -> Halo<HostTensor> {
    let Margins { top, bottom, left, right, .. } = margins;
    let strip = |rect: Region| (!rect.is_empty()).then(|| cut(tensor, rect));
    let wide = left + part.width + right;
    let (below, behind) = (part.bottom() as u32, part.right() as u32);
    Halo {
        top: strip(Region::new(part.top.saturating_sub(top), part.left - left, top, wide)),
        bottom: strip(Region::new(below, part.left - left, bottom, wide)),
        left: strip(Region::new(part.top, part.left.saturating_sub(left), part.height, left)),
        right: strip(Region::new(part.top, behind, part.height, right)),
        ..Halo::default()
    }
}

/// A conv that keeps extents in proportion, so that it can be cut.
struct CutConv {
    case: Case,
    conv: Conv,
    input: HostTensor,
    residual: Option<HostTensor>,
}

fn random_conv(random: &mut Random, fused: bool, edges: bool) -> CutConv {
    let groups = random.integer(1, 8);
    let in_channels = groups * random.integer(1, 9);
    let out_channels = random.choice(&[1, 3, 8, 16, 19, 32, 64, 67]);
    // Kernel, stride, zeros before and behind.
    let axis = |random: &mut Random| {
        let shapes = [[3, 1, 1, 1], [3, 1, 1, 1], [5, 1, 2, 2], [3, 2, 0, 1], [3, 1, 2, 0]];
        let [kernel, stride, before, behind] = random.choice(&shapes);
        Window { kernel, stride, before, behind, ..Window::POINT }
    };
    let axes = match random.coin() {
        true => [Window::centred(3); 2],
        false => [axis(random), axis(random)],
    };
    let repeat = if fused { random.choice(&[1, 2, 2, 3]) } else { 1 };
    let [height, width] = axes.map(|window| Window { repeat, ..window });
    let batch = random.integer(1, 2) as usize;
    // Even, so that a stride of 2 divides.
    let mut extent = || 2 * random.integer(2, 30) as usize;
    let shape = Shape::new(batch, extent(), extent(), in_channels as usize);
    let input = random_tensor(random, shape);

    let mut case = Case::new();
    let id = case.features("input", input.clone());
    let norm = (fused && random.coin()).then(|| {
        let stats = case.stats(random_stats(random, batch, groups as usize));
        case.norm(in_channels, stats, random.coin())
    });
    let weight_shape = [out_channels, in_channels, height.kernel, width.kernel];
    let weight = case.weight("conv.weight", &weight_shape);
    let bias = random.coin().then(|| case.weight("conv.bias", &[out_channels]));
    let mut conv = Conv {
        input: id,
        output: ValueId(0),
        weight,
        bias,
        windows: Axes::new(Window::POINT, height, width),
        edges: Axes::default(),
        in_channels,
        out_channels,
        norm,
        residual: None,
    };
    let residual =
        (fused && random.coin()).then(|| random_tensor(random, conv.output_shape(shape)));
    if let Some(residual) = &residual {
        conv.residual = Some(case.features("residual", residual.clone()));
    }
    conv.output = case.output(out_channels);
    if edges {
        conv.edges = random_edges(random, &conv, true);
    }
    case.program.ops = vec![Op::Conv(conv)];
    CutConv { case, conv, input, residual }
}

impl CutConv {
    /// The same with operands that are stored exactly.
    fn rounded(mut self, rounding: &Rounding) -> Self {
        self.case.round(rounding);
        self.input = rounding.tensor(self.input);
        self.residual = self.residual.map(|residual| rounding.tensor(residual));
        self
    }

    /// A part whose outputs begin and end with whole outputs, and those outputs.
    fn random_part(&self, random: &mut Random) -> (Region, Region, Margins) {
        let shape = self.input.shape();
        let mut axis = |axis: Axis, extent: usize| {
            let half = extent as u32 / 2;
            let first = if random.coin() { 0 } else { random.integer(0, half - 1) };
            let last = if random.coin() { half } else { random.integer(first + 1, half) };
            let window = &self.conv.windows[axis];
            let out = |cells: u32| cells * window.repeat / window.stride;
            let [before, behind] = window.reach().expect("it keeps extents in proportion");
            let margins = [before.min(2 * first), behind.min(extent as u32 - 2 * last)];
            let input = [2 * first, 2 * (last - first)];
            (input, input.map(out), margins)
        };
        let (rows, out_rows, [top, bottom]) = axis(Axis::Height, shape.height);
        let (columns, out_columns, [left, right]) = axis(Axis::Width, shape.width);
        let rect = |r: [u32; 2], c: [u32; 2]| Region::new(r[0], c[0], r[1], c[1]);
        let margins = Margins::of_frame([top, bottom, left, right]);
        (rect(rows, columns), rect(out_rows, out_columns), margins)
    }

    /// The conv on a part, its halo coming late.
    fn run_part<B: Backend>(
        &self,
        backend: &B,
        rounding: &Rounding,
        seed: u64,
        (part, out, margins): (Region, Region, Margins),
        owned: bool,
        lost: bool,
    ) -> Result<HostTensor, BackendError> {
        let program = &self.case.program;
        let weights = backend.prepare(program, &rounding.weights(seed)).expect("prepare");
        let upload = |tensor: &HostTensor| backend.upload(tensor).expect("upload");
        let mut operands = self.case.operands.clone();
        operands[0] = cut(&self.input, part);
        if let Some(residual) = &self.residual {
            *operands.last_mut().expect("the residual is the last") = cut(residual, out);
        }
        let tensors: Vec<B::Tensor> = operands.iter().map(upload).collect();
        let mut fetched = 0;
        let mut fetch = || {
            fetched += 1;
            if lost {
                return Err(BackendError::NoHalo("input".into()));
            }
            let upload = |strip: Option<HostTensor>| strip.map(|strip| upload(&strip));
            Ok(halo_of(&self.input, part, margins).map(upload))
        };
        let operands = match owned {
            true => Operands::new(tensors.into_iter().map(Operand::Owned)),
            false => Operands::new(tensors.iter().map(Operand::Shared)),
        };
        let operands = operands.within(Surroundings { margins, fetch: &mut fetch });
        let result = backend.run(program, &program.ops()[0], &weights, operands);
        assert_eq!(fetched, 1, "the halo is fetched once");
        let output = result?;
        let region = whole(backend.shape(&output));
        Ok(backend.download(&output, region).expect("download"))
    }
}

/// A conv on a part with its halo gives what the conv on the whole gives there; a halo that does
/// not come ends the op, and the backend works on.
pub fn convs_within_halos<B: Backend>(make: impl Make<B>) {
    check_parts(&make.make(), make.rounding(), 2000..2080, false);
}

/// The same of convs with copies and reflections beyond the ends of the whole, as far as supported:
/// where a part ends within it stands what the neighbours have.
pub fn convs_within_halos_and_edges<B: Backend>(make: impl Make<B>) {
    check_parts(&make.make(), make.rounding(), 2100..2180, true);
}

fn check_parts<B: Backend>(backend: &B, rounding: Rounding, seeds: Range<u64>, edges: bool) {
    for seed in seeds {
        let mut random = Random::new(seed);
        let cut_conv = random_conv(&mut random, seed % 2 == 0, edges).rounded(&rounding);
        let op = Op::Conv(cut_conv.conv);
        if !backend.supports(&cut_conv.case.program, &op) {
            continue;
        }
        let full = cut_conv.case.run_on(&Reference, &rounding, seed, false);
        for (owned, lost) in [(false, false), (true, false), (false, true), (true, false)] {
            let part = cut_conv.random_part(&mut random);
            let what = format!("seed {seed}, owned {owned}, part {part:?}, {op:?}");
            match cut_conv.run_part(backend, &rounding, seed, part, owned, lost) {
                Ok(got) => assert_close(&what, &got, &cut(&full, part.1), rounding.op),
                Err(error) => assert_eq!(error, BackendError::NoHalo("input".into()), "{what}"),
            }
        }
    }
}

/// Attention over blocks of keys and values, one after the other, is that over all of them.
pub fn attention_in_blocks<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 0..24 {
        let mut random = Random::new(seed);
        let batch = random.integer(1, 2) as usize;
        let channels = random.choice(&[1, 8, 24, 32, 64, 96]);
        let queries = Shape::new(
            batch,
            random.integer(1, 14) as usize,
            random.integer(1, 14) as usize,
            channels,
        );
        let width = random.integer(1, 14);
        let rows: Vec<u32> = (0..random.integer(1, 4)).map(|_| random.integer(1, 25)).collect();
        let height: u32 = rows.iter().sum();
        let keys = Shape::new(batch, height as usize, width as usize, channels);
        let scale = random.choice(&[0.1, 1.0, 8.0]) / (channels as f32).sqrt();

        let mut case = Case::new();
        let tensors =
            [queries, keys, keys].map(|shape| rounding.tensor(random_tensor(&mut random, shape)));
        let [q, k, v] = [0, 1, 2].map(|at| case.features(["q", "k", "v"][at], tensors[at].clone()));
        let output = case.output(channels as u32);
        let op = Op::Attention { q, k, v, output, scale };
        case.program.ops = vec![op];
        let expected = case.run_on(&Reference, &rounding, seed, false);

        let upload = |tensor: &HostTensor| backend.upload(tensor).expect("upload");
        let query = upload(&tensors[0]);
        let mut attention = None;
        let mut top = 0;
        for &height in &rows {
            let rect = Region::new(top, 0, height, width);
            let [k, v] = [1, 2].map(|at| upload(&cut(&tensors[at], rect)));
            let operands = [&query, &k, &v].map(Operand::Shared);
            let step = backend.attend(&case.program, &op, Operands::new(operands), attention);
            attention = Some(step.expect("attend"));
            top += height;
        }
        let output = backend.attended(attention.expect("at least one block")).expect("attended");
        let got = backend.download(&output, whole(backend.shape(&output))).expect("download");
        assert_close(&format!("seed {seed}, blocks {rows:?}"), &got, &expected, rounding.op);
    }
}
