//! Limits that both sides of the wire keep. A limit that one component alone keeps stands there.

/// Longest policy, binding or channel id.
pub const MAX_SLUG_BYTES: usize = 63;
/// Findings that travel with one verdict; the true total travels beside them.
pub const MAX_FINDINGS_PER_VERDICT: usize = 20;
/// One encoded record. Further verdicts of the subject go into further records.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// One encoded record of those kinds that list a whole policy set: Bundle and SnapshotEnd. Some 2,500
/// bindings; a batch of others before it, sealed at 256 KiB, and one of these fit the body of a batch.
pub const MAX_SET_RECORD_BYTES: usize = 512 * 1024;
/// A message of a finding, verdict or error, after redaction.
pub const MAX_MESSAGE_BYTES: usize = 1024;
/// A patch of a finding as JSON text; a larger one is left out.
pub const MAX_PATCH_BYTES: usize = 4 * 1024;
/// Records in one batch.
pub const MAX_BATCH_RECORDS: usize = 512;
/// Encoded items of one batch, before compression, at which it is sealed.
pub const MAX_BATCH_BYTES: usize = 256 * 1024;
/// Declared size of a batch body: the most that a decompressor may produce.
pub const MAX_BATCH_BODY_BYTES: usize = 1024 * 1024;
/// One message on the session stream.
pub const MAX_MESSAGE_ON_WIRE_BYTES: usize = 1024 * 1024;
/// One message of Enrol and Reenter.
pub const MAX_ENROL_MESSAGE_BYTES: usize = 64 * 1024;
/// One chunk of a blob.
pub const BLOB_CHUNK_BYTES: usize = 256 * 1024;
/// One blob: a policy file or its data.
pub const MAX_BLOB_BYTES: usize = 4 * 1024 * 1024;
/// Files of one bundle.
pub const MAX_BUNDLE_FILES: usize = 4096;
/// All files of one bundle together.
pub const MAX_BUNDLE_BYTES: usize = 64 * 1024 * 1024;
/// A signed JSON payload: root, manifest, exemptions, assignment, grant.
pub const MAX_SIGNED_PAYLOAD_BYTES: usize = 2 * 1024 * 1024;
/// Signatures on one envelope.
pub const MAX_SIGNATURES: usize = 16;
/// Labels that travel with a subject.
pub const MAX_SUBJECT_LABELS: usize = 16;
/// One Kubernetes object as the agent and the scanner take it: etcd's own limit is 1.5 MiB, and
/// a file may hold indentation and comments besides.
pub const MAX_OBJECT_BYTES: usize = 8 * 1024 * 1024;
