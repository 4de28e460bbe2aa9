//! Video streams and their fragment index, on the vault.
