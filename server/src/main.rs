//! The media server: takes fragments, keeps them sealed, plays them.

fn main() {}
