//! Clips with a readable frame counter, an RTSP camera simulator, example configurations.
