//! Everything that knows GStreamer: sources in, access units out.
