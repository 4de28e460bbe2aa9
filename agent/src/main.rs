//! The edge agent: cameras in, fragments out.

fn main() {}
