//! Tests about the repository itself: arrows between crates, banned words, documents.
