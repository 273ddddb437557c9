//! cuDNN's graph API: products that its engines may do faster than our kernel.
//!
//! A [`Spec`] says what is multiplied and where it lies, without the addresses. For a kind of product
//! the engines that cuDNN proposes and our own kernel take turns on made-up numbers ([`trial`]); the
//! fastest of those that give the same result is kept in the cache folder ([`choice`]), and so is what
//! cuDNN compiled for each spec. Tests compile plans with the real library for GPUs that are not there,
//! from descriptions of them.

mod choice;
mod descriptor;
mod graph;
mod library;
mod plan;
mod spec;
mod target;
#[cfg(test)]
mod tests;
mod trial;

pub(crate) use choice::{Choices, Engines};
pub(crate) use library::Cudnn;
#[cfg(test)]
pub(crate) use spec::tests as tests_of_spec;
