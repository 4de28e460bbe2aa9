//! Sealed extents: envelope keys, segments, catalog, group commit. Knows no video.
