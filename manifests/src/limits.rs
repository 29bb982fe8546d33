//! Limits of reading. Each is far above what real manifests need and far below what hurts.

/// One file, or standard input. `kubectl get -A -o yaml` of a large cluster stays below.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Files of one run.
pub const MAX_FILES: usize = 200_000;
/// Documents of one file, items of Lists included.
pub const MAX_DOCUMENTS_PER_FILE: usize = 100_000;
/// Levels of mappings and lists within one document; Kubernetes' own schemas stay below 40.
pub const MAX_DEPTH: usize = 128;
/// Values of one document.
pub const MAX_NODES: usize = 4_000_000;
/// Values that the anchors and aliases of one document may be copied to.
pub const MAX_ALIASED_NODES: usize = 100_000;
/// Text that the anchors and aliases of one document may be copied to.
pub const MAX_ALIASED_BYTES: usize = 8 * 1024 * 1024;
/// Folders within folders.
pub const MAX_FOLDER_DEPTH: usize = 64;
