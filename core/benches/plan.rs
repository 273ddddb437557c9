//! Benches follow.
fn main() {}
