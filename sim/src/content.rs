//! The bytes of a simulated file: pages that were written, and holes that read as zeros.

use std::collections::BTreeMap;

/// Also the unit in which a write that was not synced reaches the disk or does not.
pub(crate) const PAGE_BYTES: usize = 4096;

/// A file's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE_BYTES as u64));
            // What is cut off within a page reads as zeros if the file grows again.
            if let Some(page) = self.pages.get_mut(&(len / PAGE_BYTES as u64)) {
                page[within(len)..].fill(0);
            }
        }
        self.len = len;
    }

    pub(crate) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PAGE_BYTES - within(at);
            let (now, later) = rest.split_at(room.min(rest.len()));
            let page = self.pages.entry(at / PAGE_BYTES as u64).or_insert_with(|| Box::new([0; PAGE_BYTES]));
            page[within(at)..within(at) + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    pub(crate) fn read(&self, out: &mut [u8], offset: u64) -> usize {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = out.len().min(left);
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let now = (PAGE_BYTES - within(at)).min(len - done);
            let out = &mut out[done..done + now];
            match self.pages.get(&(at / PAGE_BYTES as u64)) {
                Some(page) => out.copy_from_slice(&page[within(at)..within(at) + now]),
                None => out.fill(0),
            }
            done += now;
        }
        len
    }

    /// Where the last page that was ever written ends.
    pub(crate) fn written_end(&self) -> u64 {
        let last = self.pages.last_key_value();
        last.map_or(0, |(page, _)| (page + 1) * PAGE_BYTES as u64).min(self.len)
    }
}

fn within(offset: u64) -> usize {
    usize::try_from(offset % PAGE_BYTES as u64).expect("smaller than a page")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_across_pages_is_read_back_and_holes_are_zeros() {
        let mut content = Content::default();
        content.write(&[7; 5000], 3000);
        let mut out = [1; 9000];
        assert_eq!(content.read(&mut out, 0), 8000);
        assert_eq!((&out[..3000], &out[3000..8000]), (&[0; 3000][..], &[7; 5000][..]));
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut content = Content::default();
        content.write(&[7; 5000], 0);
        content.set_len(100);
        content.set_len(5000);
        let mut out = [1; 5000];
        content.read(&mut out, 0);
        assert_eq!((&out[..100], &out[100..]), (&[7; 100][..], &[0; 4900][..]));
    }
}
