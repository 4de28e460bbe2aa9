//! Any bytes as an AudioSpecificConfig. Whatever is accepted must keep its bytes and answer every question.
#![no_main]

use bytes::Bytes;
use fragment::codec::aac::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = Config::parse(Bytes::copy_from_slice(data)) {
        assert_eq!(config.as_bytes(), data);
        assert!(config.rfc6381().starts_with("mp4a.40."));
        assert!(config.sampling_frequency() > 0 && config.samples_per_frame() > 0);
    }
});
