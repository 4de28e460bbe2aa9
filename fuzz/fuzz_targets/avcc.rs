//! Any bytes as an avcC record. Whatever is accepted must keep its bytes and answer every question.
#![no_main]

use bytes::Bytes;
use fragment::codec::h264::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = Config::parse(Bytes::copy_from_slice(data)) {
        assert_eq!(config.as_bytes(), data);
        assert!(config.rfc6381().starts_with("avc1."));
        assert!(config.width() > 0 && config.height() > 0);
    }
});
