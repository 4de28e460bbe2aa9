//! A schema of its own for one catalog.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use services::Postgres;

use crate::catalog::Catalog;
use crate::catalog::postgres::PostgresCatalog;

/// A schema of its own for one catalog.
pub(crate) struct Schema {
    pub(super) server: Arc<Postgres>,
    pub(super) name: String,
}

impl Schema {
    /// A new schema on the shared server.
    pub(crate) fn new() -> Self {
        Self::on(&Postgres::shared())
    }

    /// A new schema on this server.
    pub(crate) fn on(server: &Arc<Postgres>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("s{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.sql(&format!("CREATE SCHEMA {name}"));
        Self { server: server.clone(), name }
    }

    /// A catalog in it.
    pub(crate) fn open(&self) -> Arc<dyn Catalog> {
        Arc::new(PostgresCatalog::open(&self.url()).unwrap())
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        self.url_by(self.server.folder())
    }

    /// Where it is, by a socket in another folder.
    pub(super) fn url_by(&self, folder: &Path) -> String {
        let host = folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://millrace@{host}/postgres?options=-csearch_path%3D{}", self.name)
    }
}
