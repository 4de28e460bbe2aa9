//! How fast a catalog commits, by the rows that fragments make: three keys each, about 150 bytes in the first.
//!
//! ```text
//! cargo run --release -p vault --example catalog_rates -- fjall FOLDER
//! cargo run --release -p vault --example catalog_rates -- postgres URL
//! ```
//!
//! Commits of one fragment tell the latency of a quiet node, commits of 256 what a busy one can take, and
//! four threads with commits of one what nodes beside each other get.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vault::catalog::FjallCatalog;
use vault::{Batch, Catalog, Key, Space};

/// Long enough for syncs to average out.
const TIME: Duration = Duration::from_secs(8);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, place] = &arguments[..] else {
        eprintln!("usage: catalog_rates fjall FOLDER | postgres URL");
        std::process::exit(2);
    };
    let catalog = match open(kind, place) {
        Ok(catalog) => catalog,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    println!("| {kind} | commits/s | fragments/s | rows/s | ms per commit |");
    println!("| --- | --- | --- | --- | --- |");
    for (threads, fragments) in [(1, 1), (1, 256), (4, 1), (4, 256)] {
        let commits = measure(&catalog, threads, fragments);
        let per_second = commits as f64 / TIME.as_secs_f64();
        let fragments_per_second = per_second * fragments as f64;
        println!(
            "| {threads} × commits of {fragments} | {per_second:.0} | {fragments_per_second:.0} | {:.0} | {:.2} |",
            3.0 * fragments_per_second,
            1000.0 * threads as f64 / per_second,
        );
    }
}

fn open(kind: &str, place: &str) -> Result<Arc<dyn Catalog>, Box<dyn std::error::Error>> {
    match kind {
        "fjall" => Ok(Arc::new(FjallCatalog::open(Path::new(place))?)),
        #[cfg(feature = "postgres")]
        "postgres" => Ok(Arc::new(vault::catalog::PostgresCatalog::open(place)?)),
        other => Err(format!("there is no catalog {other}").into()),
    }
}

/// Commits from `threads` threads, each batch of `fragments` fragments of streams of its own.
fn measure(catalog: &Arc<dyn Catalog>, threads: u64, fragments: u64) -> u64 {
    // Numbers go on from run to run, so that rows are new each time, as a camera's are.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let end = Instant::now() + TIME;
    let committed = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while Instant::now() < end {
                    let mut batch = Batch::new();
                    for stream in 0..fragments {
                        add_fragment(&mut batch, stream, NUMBER.fetch_add(1, Ordering::Relaxed));
                    }
                    catalog.commit(batch).expect("the catalog commits");
                    committed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    committed.into_inner()
}

/// A fragment's three rows: by number, by time, by identity.
fn add_fragment(batch: &mut Batch, stream: u64, number: u64) {
    let key = |kind: u8, rest: &[u8]| {
        let mut key = vec![kind];
        key.extend_from_slice(&stream.to_be_bytes());
        key.extend_from_slice(rest);
        Key::new(Space::Archive, &key)
    };
    let identity = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    batch.insert(key(1, &number.to_be_bytes()), vec![7; 120]);
    batch.insert(key(2, &[number.to_be_bytes(), number.to_be_bytes()].concat()), "");
    batch.insert(key(3, &[identity, number.to_be_bytes()].concat()), number.to_be_bytes().to_vec());
}
