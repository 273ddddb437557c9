//! Which GPUs there are, and which one is meant.

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{CUdevice, CUdevice_attribute};

use crate::driver;
use crate::error::OpenError;

/// What users see of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Its place among those that the driver shows this process.
    pub index: u32,
    /// Its name, as the driver gives it.
    pub name: String,
    /// Its memory.
    pub memory_bytes: u64,
    /// Major and minor compute capability.
    pub compute_capability: [u32; 2],
    /// Multiprocessors.
    pub multiprocessors: u32,
}

impl std::fmt::Display for DeviceEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.index, self.name)
    }
}

/// Which GPU is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first one.
    #[default]
    Auto,
    /// The one at that place in [`devices`].
    Index(u32),
    /// The first whose name contains this, in whatever case.
    Name(String),
}

impl DeviceChoice {
    /// The GPU that is meant, among those of [`devices`].
    ///
    /// # Errors
    /// [`OpenError::NoDevice`], [`OpenError::Unknown`].
    pub fn among<'a>(&self, found: &'a [DeviceEntry]) -> Result<&'a DeviceEntry, OpenError> {
        let (place, asked) = match self {
            DeviceChoice::Auto => (Some(0), String::new()),
            DeviceChoice::Index(index) => (usize::try_from(*index).ok(), index.to_string()),
            DeviceChoice::Name(name) => {
                let part = name.to_lowercase();
                let fits = |entry: &DeviceEntry| entry.name.to_lowercase().contains(&part);
                (found.iter().position(fits), name.clone())
            }
        };
        if found.is_empty() {
            return Err(OpenError::NoDevice);
        }
        place.and_then(|place| found.get(place)).ok_or_else(|| OpenError::Unknown {
            asked,
            found: found.iter().map(ToString::to_string).collect(),
        })
    }
}

/// The GPUs that the driver shows this process.
///
/// # Errors
/// [`OpenError::NoDriver`], [`OpenError::NoDevice`], or that the driver does not work.
pub fn devices() -> Result<Vec<DeviceEntry>, OpenError> {
    driver::load()?;
    let failed = |error| OpenError::Driver { message: driver::words(error) };
    let count = result::device::get_count().map_err(failed)?;
    if count == 0 {
        return Err(OpenError::NoDevice);
    }
    (0..count).map(|index| entry(index).map_err(failed)).collect()
}

/// The driver's handle of a GPU.
pub(crate) fn handle(index: u32) -> Result<CUdevice, DriverError> {
    result::device::get(index as i32)
}

fn entry(index: i32) -> Result<DeviceEntry, DriverError> {
    let device = result::device::get(index)?;
    let attribute = |attribute| {
        // SAFETY: a device that the driver gave.
        unsafe { result::device::get_attribute(device, attribute) }.map(|value| value as u32)
    };
    // SAFETY: a device that the driver gave.
    let memory = unsafe { result::device::total_mem(device) }?;
    Ok(DeviceEntry {
        index: index as u32,
        name: result::device::get_name(device)?,
        memory_bytes: memory as u64,
        compute_capability: [
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ],
        multiprocessors: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_place_or_by_a_part_of_the_name() {
        let entry = |index, name: &str| DeviceEntry {
            index,
            name: name.into(),
            memory_bytes: 1 << 30,
            compute_capability: [9, 0],
            multiprocessors: 100,
        };
        let found = [entry(0, "NVIDIA L4"), entry(1, "NVIDIA H100")];
        let index = |choice: DeviceChoice| choice.among(&found).map(|entry| entry.index);
        assert_eq!(index(DeviceChoice::Auto), Ok(0));
        assert_eq!(index(DeviceChoice::Index(1)), Ok(1));
        assert_eq!(index(DeviceChoice::Name("h100".into())), Ok(1));
        for asked in [DeviceChoice::Index(2), DeviceChoice::Name("none".into())] {
            let error = index(asked).unwrap_err().to_string();
            assert!(error.contains("NVIDIA L4") && error.contains("H100"), "{error}");
        }
        assert_eq!(DeviceChoice::Auto.among(&[]), Err(OpenError::NoDevice));
    }
}
