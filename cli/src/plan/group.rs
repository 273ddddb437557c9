//! The ranks that there are, from the sizes of a diffusion transformer's groups.

use halovae::core::{DitParallel, PlanError};

use crate::args::GroupArgs;

/// The product of the transformer's parallel sizes if any is given, else as many as are asked for.
pub(crate) fn group_size(group: &GroupArgs, requested: u32) -> Result<u32, PlanError> {
    let sizes = [
        group.data_parallel_size,
        group.cfg_parallel_size,
        group.ulysses_degree,
        group.ring_degree,
        group.pipeline_parallel_size,
        group.tensor_parallel_size,
    ];
    if sizes.iter().all(Option::is_none) {
        return Ok(requested);
    }
    let [data, cfg, ulysses, ring, pipeline, tensor] = sizes.map(|size| size.unwrap_or(1));
    DitParallel { data, cfg, ulysses, ring, pipeline, tensor }.size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_the_product_of_what_is_given() {
        let none = GroupArgs {
            data_parallel_size: None,
            cfg_parallel_size: None,
            ulysses_degree: None,
            ring_degree: None,
            pipeline_parallel_size: None,
            tensor_parallel_size: None,
        };
        assert_eq!(group_size(&none, 7), Ok(7));
        let some = GroupArgs { cfg_parallel_size: Some(2), ulysses_degree: Some(3), ..none };
        assert_eq!(group_size(&some, 7), Ok(6));
    }
}
