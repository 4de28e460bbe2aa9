//! The keys of a vault in the clear, read by the layouts of its files and by no code of the vault's, and the search for them
//! where none may be. `server/vault/src/keyring/file.rs`, `keyring.rs` and `stored_key.rs` draw the files.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The master key of a keyring without a passphrase that holds one: the end of its entry, before the checksum.
pub fn master(keyring: &Path) -> Vec<u8> {
    let bytes = fs::read(keyring).expect("the keyring can be read");
    assert!(bytes.starts_with(b"MRKRING1\0") && bytes.len() == 9 + 49 + 4, "a keyring of one key, by its mode alone");
    bytes[bytes.len() - 36..bytes.len() - 4].to_vec()
}

/// The data keys of a vault that are wrapped under this master key; all of them have to be.
pub fn data_keys(vault: &Path, master: &[u8]) -> Vec<Vec<u8>> {
    let master = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, master).expect("a key of 32 bytes"));
    files(&vault.join("keys")).iter().map(|path| unwrap(&fs::read(path).expect("it can be read"), &master)).collect()
}

/// Opens the file of a data key: `[magic: 8][name: 20][resource, after its length: 2][wrapped key, likewise][checksum: 4]`,
/// where the wrapped key is `[version: 1][master: 8][nonce: 12][sealed key: 32][tag: 16]`.
fn unwrap(stored: &[u8], master: &LessSafeKey) -> Vec<u8> {
    let rest = stored.strip_prefix(b"MRKEY001").expect("the file of a data key");
    let (name, rest) = rest.split_at(20);
    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    let (resource, rest) = rest[2..].split_at(length);
    let wrapped = &rest[2..rest.len() - 4];
    let nonce = Nonce::try_assume_unique_for_key(&wrapped[9..21]).expect("12 bytes");
    let mut sealed = wrapped[21..].to_vec();
    let context = [b"millrace data key", name, resource].concat();
    let opened = master.open_in_place(nonce, Aad::from(context), &mut sealed);
    opened.expect("the master key opens it").to_vec()
}

/// Fails if a key is written down in one of the places, in whatever form: as it is, in base64, in hexadecimal, or as Rust
/// shows bytes. The beginning shows as much as the whole, and a line may be cut.
pub fn are_nowhere_in(places: &[(String, Vec<u8>)], keys: &[Vec<u8>]) {
    for key in keys {
        for form in forms(key) {
            for (place, bytes) in places {
                assert_eq!(find(bytes, &form), None, "a key is in {place}");
            }
        }
    }
}

/// Each file of a folder and those below it.
pub fn places(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |path: PathBuf| (path.display().to_string(), fs::read(&path).expect("it can be read"));
    files(folder).into_iter().map(read).collect()
}

fn forms(key: &[u8]) -> [Vec<u8>; 4] {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{key:?}");
    [
        key[..16].to_vec(),
        STANDARD.encode(key).into_bytes()[..20].to_vec(),
        hex.into_bytes()[..32].to_vec(),
        list.into_bytes()[..40].to_vec(),
    ]
}

fn find(bytes: &[u8], form: &[u8]) -> Option<usize> {
    bytes.windows(form.len()).position(|window| window == form)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it is a folder").map(|entry| entry.expect("it is listed").path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.is_file()).collect()
}
