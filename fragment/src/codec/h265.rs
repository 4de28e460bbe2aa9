//! placeholder
use bytes::Bytes;
/// placeholder
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config { raw: Bytes }
impl Config {
    /// placeholder
    pub fn parse(raw: Bytes) -> Option<Self> { Some(Self { raw }) }
    /// The record as it is stored in CodecPrivate.
    pub fn as_bytes(&self) -> &Bytes { &self.raw }
    /// The RFC 6381 string.
    pub fn rfc6381(&self) -> String { String::new() }
}
