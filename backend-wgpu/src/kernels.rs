//! Compiled kernels, each made when it is first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use twox_hash::XxHash3_64;
use wgpu::{
    ComputePipeline, ComputePipelineDescriptor, Device, ErrorFilter, PipelineCompilationOptions,
    ShaderModuleDescriptor, ShaderRuntimeChecks, ShaderSource,
};

use crate::cache::Compiled;
use crate::checked::checked;
use crate::options::Precision;
use crate::template::{self, Names};

macro_rules! shaders {
    ($($name:ident: $file:literal,)*) => {
        /// The templates in `shaders/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Shader {
            $($name,)*
        }

        impl Shader {
            const ALL: &[Self] = &[$(Shader::$name,)*];

            fn source(self) -> &'static str {
                match self {
                    $(Shader::$name => include_str!(concat!("shaders/", $file)),)*
                }
            }

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Shader::$name => $file,)*
                }
            }
        }
    };
}

shaders! {
    Affine: "affine.wgsl",
    Attended: "attended.wgsl",
    Elementwise: "elementwise.wgsl",
    Peak: "peak.wgsl",
    Product: "product.wgsl",
    ProductLanes: "product_lanes.wgsl",
    ProductMatrices: "product_matrices.wgsl",
    ProductShared: "product_shared.wgsl",
    Softmax: "softmax.wgsl",
    Stage: "stage.wgsl",
    StatsMerge: "stats_merge.wgsl",
    StatsPart: "stats_part.wgsl",
    Transpose: "transpose.wgsl",
    Upsample: "upsample.wgsl",
    WinogradInput: "winograd_input.wgsl",
    WinogradOutput: "winograd_output.wgsl",
}

macro_rules! included {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("shaders/", $file)))),*]
    };
}

/// What templates include.
const INCLUDED: &[(&str, &str)] = included![
    "common.wgsl",
    "product_head.wgsl",
    "product_tail.wgsl",
    "staged.wgsl",
    "winograd.wgsl",
];

fn include(file: &str) -> &'static str {
    let found = INCLUDED.iter().find(|(name, _)| *name == file);
    found.unwrap_or_else(|| panic!("no shader includes `{file}`")).1
}

/// Tells these sources from those of other versions.
pub(crate) fn sources_hash() -> u64 {
    let templates = Shader::ALL.iter().map(|shader| shader.source());
    let all: Vec<&str> = templates.chain(INCLUDED.iter().map(|(_, text)| *text)).collect();
    XxHash3_64::oneshot(all.concat().as_bytes())
}

/// Invocations of a workgroup of the kernels that go over elements one by one.
pub(crate) const GROUP: u32 = 64;

/// The kernels of a device.
#[derive(Debug)]
pub(crate) struct Kernels {
    made: Mutex<HashMap<(Shader, Names), Arc<ComputePipeline>>>,
    compiled: Option<Compiled>,
    f16: bool,
}

impl Kernels {
    pub(crate) fn new(compiled: Option<Compiled>, precision: Precision) -> Self {
        Self { made: Mutex::default(), compiled, f16: precision == Precision::F16 }
    }

    /// The WGSL of a kernel.
    pub(crate) fn wgsl(&self, shader: Shader, names: &Names) -> String {
        let mut names = names.clone();
        let element = if self.f16 { "f16" } else { "f32" };
        names.insert("E".into(), element.into());
        names.insert("GROUP".into(), GROUP.to_string());
        names.insert("F16".into(), u32::from(self.f16).to_string());
        template::write(shader.source(), &include, &names)
    }

    /// A kernel, compiled unless it was before.
    ///
    /// # Errors
    /// Why it does not compile.
    pub(crate) fn get(
        &self,
        device: &Device,
        shader: Shader,
        names: &Names,
    ) -> Result<Arc<ComputePipeline>, String> {
        // Held while compiling, so that ranks that want the same kernel compile it once.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = made.get(&(shader, names.clone())) {
            return Ok(kernel.clone());
        }
        let source = self.wgsl(shader, names);
        let compile = || {
            let descriptor = ShaderModuleDescriptor {
                label: Some(shader.name()),
                source: ShaderSource::Wgsl(source.into()),
            };
            // SAFETY: kernels index what they are given within the extents that come with it, and
            // their loops end; the conformance suite runs all of them.
            let module = unsafe {
                device.create_shader_module_trusted(descriptor, ShaderRuntimeChecks::unchecked())
            };
            device.create_compute_pipeline(&ComputePipelineDescriptor {
                label: Some(shader.name()),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..PipelineCompilationOptions::default()
                },
                cache: self.compiled.as_ref().map(Compiled::cache),
            })
        };
        let compiled = checked(device, ErrorFilter::Validation, compile)
            .map_err(|error| format!("{} does not compile: {error}", shader.name()))?;
        let kernel = Arc::new(compiled);
        made.insert((shader, names.clone()), kernel.clone());
        Ok(kernel)
    }
}

#[cfg(test)]
mod tests {
    use wgpu::naga::{back::spv, front::wgsl, valid};

    use super::*;
    use crate::template::names;

    /// Adapters with matrix units are rare: at least what they would get is WGSL, and becomes SPIR-V.
    #[test]
    fn matrices_become_spirv() {
        let kernels = Kernels::new(None, Precision::F16);
        let variants = ["BIAS", "RESIDUAL", "CONV", "LAST", "DECAY", "OUT_F32"];
        for chosen in [&[][..], &["CONV", "BIAS"], &["CONV", "BIAS", "RESIDUAL"], &["OUT_F32"]]
            .into_iter()
            .chain([&["LAST", "OUT_F32"][..], &["DECAY", "OUT_F32", "RESIDUAL"]])
        {
            let fixed = [
                ("WG", 128),
                ("TM", 1),
                ("TN", 2),
                ("UP", 2),
                ("EDGE", 1),
                ("MATRICES", 1),
                ("SIDE_FOURS", 16),
            ];
            let mut all = names(fixed);
            all.extend(
                variants
                    .map(|name| (name.to_owned(), u32::from(chosen.contains(&name)).to_string())),
            );
            let source = kernels.wgsl(Shader::ProductMatrices, &all);
            let module = wgsl::parse_str(&source)
                .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
            let able = valid::Capabilities::all();
            let mut validator = valid::Validator::new(valid::ValidationFlags::all(), able);
            let info = validator
                .validate(&module)
                .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
            let options = spv::Options { lang_version: (1, 6), ..spv::Options::default() };
            let words = spv::write_vec(&module, &info, &options, None).unwrap();
            // OpCooperativeMatrixMulAddKHR.
            let products = words.iter().filter(|&&word| word & 0xffff == 4459).count();
            assert!(products >= 8, "{products} matrix products");
        }
    }
}
