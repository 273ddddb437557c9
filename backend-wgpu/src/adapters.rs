//! Which adapters there are, and which one is meant.

use wgpu::{Adapter, Backends, DeviceType, Instance, InstanceDescriptor};

use crate::error::OpenError;

/// What users see of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterEntry {
    /// Its place in the list; the same as long as the machine stays the same.
    pub index: u32,
    /// Its name, as the driver gives it.
    pub name: String,
    /// What it is: a discrete or integrated GPU, a CPU (software), ...
    pub device_type: DeviceType,
    /// The interface: `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// The most bytes that a kernel sees of one buffer.
    pub max_binding_bytes: u64,
    /// The most bytes of one buffer.
    pub max_buffer_bytes: u64,
    /// Whether shaders may use f16.
    pub f16: bool,
}

impl AdapterEntry {
    /// Whether it is a program on the CPU: slow, and never chosen unless asked for.
    pub fn is_software(&self) -> bool {
        self.device_type == DeviceType::Cpu
    }
}

impl std::fmt::Display for AdapterEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, name, backend, .. } = self;
        let kind = match self.device_type {
            DeviceType::DiscreteGpu => "discrete GPU",
            DeviceType::IntegratedGpu => "integrated GPU",
            DeviceType::VirtualGpu => "virtual GPU",
            DeviceType::Cpu => "software",
            DeviceType::Other => "other",
        };
        write!(f, "{index}: {name} ({kind}, {backend})")
    }
}

/// Which adapter is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The first discrete GPU, or else the first GPU of any kind; never software.
    #[default]
    Auto,
    /// The one at that place in [`adapters`].
    Index(u32),
    /// The first whose name contains this, in whatever case.
    Name(String),
}

impl AdapterChoice {
    /// The adapter that is meant, among those of [`adapters`].
    ///
    /// # Errors
    /// [`OpenError::OnlySoftware`], [`OpenError::Unknown`].
    pub fn among<'a>(&self, found: &'a [AdapterEntry]) -> Result<&'a AdapterEntry, OpenError> {
        choose(found, self).map(|place| &found[place])
    }
}

/// The adapters of this machine, software included.
///
/// # Errors
/// [`OpenError::NoAdapter`] if there is none, or no Vulkan loader.
pub fn adapters() -> Result<Vec<AdapterEntry>, OpenError> {
    let found = enumerate()?;
    Ok(found.iter().enumerate().map(|(index, adapter)| entry(index, adapter)).collect())
}

pub(crate) fn enumerate() -> Result<Vec<Adapter>, OpenError> {
    let wanted = Backends::VULKAN | Backends::METAL | Backends::DX12;
    let backends = wanted & Instance::enabled_backend_features();
    let descriptor =
        InstanceDescriptor { backends, ..InstanceDescriptor::new_without_display_handle() };
    let instance = Instance::new(descriptor);
    let found = pollster::block_on(instance.enumerate_adapters(backends));
    if found.is_empty() { Err(OpenError::NoAdapter) } else { Ok(found) }
}

pub(crate) fn entry(index: usize, adapter: &Adapter) -> AdapterEntry {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let driver = format!("{} {}", info.driver, info.driver_info);
    AdapterEntry {
        index: index as u32,
        name: info.name,
        device_type: info.device_type,
        backend: info.backend.to_str().to_owned(),
        driver: driver.trim().to_owned(),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        f16: adapter.features().contains(wgpu::Features::SHADER_F16),
    }
}

/// The place of the adapter that is meant.
pub(crate) fn choose(entries: &[AdapterEntry], choice: &AdapterChoice) -> Result<usize, OpenError> {
    let place = match choice {
        AdapterChoice::Auto => {
            let rank = |entry: &AdapterEntry| match entry.device_type {
                DeviceType::DiscreteGpu => 0,
                DeviceType::IntegratedGpu => 1,
                _ => 2,
            };
            let hardware = entries.iter().filter(|entry| !entry.is_software());
            // Of equal ones the first.
            hardware.min_by_key(|entry| rank(entry)).map(|entry| entry.index as usize)
        }
        AdapterChoice::Index(index) => {
            usize::try_from(*index).ok().filter(|&index| index < entries.len())
        }
        AdapterChoice::Name(part) => {
            let part = part.to_lowercase();
            entries.iter().position(|entry| entry.name.to_lowercase().contains(&part))
        }
    };
    place.ok_or_else(|| {
        let found = entries.iter().map(ToString::to_string).collect();
        match choice {
            AdapterChoice::Auto => OpenError::OnlySoftware { found },
            AdapterChoice::Index(index) => OpenError::Unknown { asked: index.to_string(), found },
            AdapterChoice::Name(name) => OpenError::Unknown { asked: name.clone(), found },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u32, name: &str, device_type: DeviceType) -> AdapterEntry {
        AdapterEntry {
            index,
            name: name.into(),
            device_type,
            backend: "vulkan".into(),
            driver: String::new(),
            max_binding_bytes: 1 << 27,
            max_buffer_bytes: 1 << 28,
            f16: false,
        }
    }

    #[test]
    fn software_is_never_the_automatic_choice() {
        let software = entry(0, "llvmpipe", DeviceType::Cpu);
        let integrated = entry(1, "Graphics 770", DeviceType::IntegratedGpu);
        let discrete = entry(2, "GeForce", DeviceType::DiscreteGpu);
        let auto = |entries: &[AdapterEntry]| choose(entries, &AdapterChoice::Auto);
        let error = auto(std::slice::from_ref(&software)).unwrap_err();
        assert!(error.to_string().contains("llvmpipe"), "{error}");
        assert_eq!(auto(&[software.clone(), integrated.clone()]), Ok(1));
        assert_eq!(auto(&[software, integrated, discrete]), Ok(2));
    }

    #[test]
    fn by_place_or_by_a_part_of_the_name() {
        let entries =
            [entry(0, "llvmpipe (LLVM)", DeviceType::Cpu), entry(1, "A", DeviceType::Other)];
        assert_eq!(choose(&entries, &AdapterChoice::Index(1)), Ok(1));
        assert_eq!(choose(&entries, &AdapterChoice::Name("LLVMpipe".into())), Ok(0));
        for asked in [AdapterChoice::Index(2), AdapterChoice::Name("none".into())] {
            let error = choose(&entries, &asked).unwrap_err();
            assert!(error.to_string().contains("llvmpipe"), "it lists what there is: {error}");
        }
    }
}
