//! Makes pictures of video, for a server that starts it: fragments come in over standard input, pictures go out over standard
//! output. See `millrace::pictures`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter};
use std::process::ExitCode;

use bytes::Bytes;
use fragment::{AccessUnit, Codec, MediaTime};
use millrace::pictures::{Format, Order, worker};
use pipelines::still;

fn main() -> ExitCode {
    worker::confine();
    match worker::work(io::stdin().lock(), BufWriter::new(io::stdout().lock()), &make) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace-images: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(
    codec: &Codec,
    units: &[AccessUnit],
    wanted: &BTreeSet<MediaTime>,
    order: &Order,
) -> BTreeMap<MediaTime, Bytes> {
    let format = match order.format {
        Format::Jpeg { quality } => still::Format::Jpeg { quality },
        Format::Png => still::Format::Png,
    };
    let size = still::Size { width: order.size.width, height: order.size.height };
    still::pictures(codec, units, wanted, format, size).unwrap_or_else(|error| {
        eprintln!("millrace-images: {error}");
        BTreeMap::new()
    })
}
