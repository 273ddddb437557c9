//! Products, by an engine of cuDNN's where one was chosen, or else by our own kernel.

use halovae_engine::backend::BackendError;

use super::CudaBackend;
use crate::params::Product;
use crate::product::Right;

impl CudaBackend {
    pub(super) fn product(&self, product: Product, right: Right) -> Result<(), BackendError> {
        if let Some(engines) = &self.engines
            && engines.run(&product, right)?
        {
            return Ok(());
        }
        self.store.product(product, right)
    }
}
