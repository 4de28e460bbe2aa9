//! Sealing a batch, on as many threads as pay.

use std::collections::HashMap;
use std::thread;

use super::batch::Work;
use crate::data_keys::SealingKey;
use crate::frame::FrameHeader;
use crate::id::KeyScope;
use crate::keys::DataKey;

/// Below this a second thread costs more to start (some 20 µs) than it saves: AES-GCM seals this much
/// in about 100 µs.
const BYTES_PER_THREAD_MIN: usize = 256 << 10;

/// More threads than this outrun any disk: each seals some 2 GB/s.
const THREADS_MAX: usize = 4;

/// A frame to be sealed into its part of the buffer.
struct Frame<'a> {
    header: FrameHeader,
    key: &'a DataKey,
    payload: &'a [u8],
    out: &'a mut [u8],
}

/// Seals all works side by side into `buffer`, in their order.
pub(super) fn all(works: &[Work], keys: &HashMap<KeyScope, SealingKey>, buffer: &mut Vec<u8>) {
    let total: usize = works.iter().map(|work| work.frame_bytes() as usize).sum();
    if buffer.len() < total {
        buffer.resize(total, 0);
    }
    let mut rest = &mut buffer[..total];
    let mut frames = Vec::with_capacity(works.len());
    for work in works {
        let (out, after) = rest.split_at_mut(work.frame_bytes() as usize);
        rest = after;
        let SealingKey { id, key } = keys.get(&work.key_scope()).expect("step 4 has the key of every work");
        frames.push(Frame { header: work.header(*id), key, payload: &work.entry.payload, out });
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS_MAX).min(total / BYTES_PER_THREAD_MIN).min(frames.len()).max(1);
    let shares = shares(frames, total.div_ceil(threads));
    thread::scope(|scope| {
        let mut shares = shares.into_iter();
        let own = shares.next();
        for share in shares {
            scope.spawn(move || seal(share));
        }
        seal(own.unwrap_or_default());
    });
}

fn seal(frames: Vec<Frame<'_>>) {
    for frame in frames {
        frame.header.seal(frame.key, frame.payload, frame.out);
    }
}

/// Cuts the frames into shares of at least `bytes` each but the last.
fn shares(frames: Vec<Frame<'_>>, bytes: usize) -> Vec<Vec<Frame<'_>>> {
    let mut shares = vec![Vec::new()];
    let mut filled = 0;
    for frame in frames {
        if filled >= bytes {
            shares.push(Vec::new());
            filled = 0;
        }
        filled += frame.out.len();
        shares.last_mut().expect("there is always one").push(frame);
    }
    shares
}
