//! This machine's disk without syncs, and one beside it that holds no fragment, for what is never read back.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ::disk::testing::{DiskOver, FileOver, Nothing};
use ::disk::{Disk as _, File, OsDisk};

pub(super) struct Unsynced {
    pub(super) holds_fragments: bool,
}

struct UnsyncedFile(Arc<dyn File>);

impl Unsynced {
    fn holds(&self, path: &Path) -> bool {
        self.holds_fragments || path.extension().is_none_or(|end| end != "frag")
    }
}

impl DiskOver for Unsynced {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        if self.holds(path) { Ok(Arc::new(UnsyncedFile(OsDisk.create(path)?))) } else { Ok(Arc::new(Nothing)) }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(UnsyncedFile(OsDisk.open(path)?)))
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(UnsyncedFile(OsDisk.open_to_cut(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.holds(path) { OsDisk.remove(path) } else { Ok(()) }
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl FileOver for UnsyncedFile {
    fn under(&self) -> &dyn File {
        &*self.0
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
