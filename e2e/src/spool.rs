//! What a spool file of the agent holds, read by its layout and by no code of the agent's. `agent/spool/src/file.rs`
//! draws it.

use std::fs;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"MRSP\x01";

/// A fragment in the spool, whole or torn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Its stream.
    pub stream: String,
    /// The id that it was given at capture.
    pub id: String,
    /// The Matroska document, as far as whole records of it are on disk.
    pub media: Vec<u8>,
}

impl Spooled {
    /// Reads the file at `path`; `None` if nothing of the fragment is in it yet.
    pub fn read(path: &Path) -> Option<Spooled> {
        let bytes = fs::read(path).ok()?;
        let media = media(&bytes);
        let name = |path: Option<&std::ffi::OsStr>| Some(path?.to_string_lossy().into_owned());
        let (stream, id) = (name(path.parent()?.file_name())?, name(path.file_stem())?);
        (!media.is_empty()).then_some(Spooled { stream, id, media })
    }

    /// Writes the document to a file of its own in `folder`, for tools.
    pub fn extract(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}-{}.mkv", self.stream, self.id));
        fs::write(&path, &self.media).expect("the document can be written");
        path
    }
}

/// The payloads of all whole chunk records, joined.
fn media(file: &[u8]) -> Vec<u8> {
    let mut media = Vec::new();
    let Some(mut rest) = file.strip_prefix(MAGIC) else { return media };
    // [kind: 1][length: u32][checksum: u32][body]; a chunk's body is [elapsed: u64][payload].
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some((body, next)) = after.split_at_checked(length) else { break };
        if head[0] == b'C' {
            media.extend_from_slice(&body[8..]);
        }
        rest = next;
    }
    media
}
