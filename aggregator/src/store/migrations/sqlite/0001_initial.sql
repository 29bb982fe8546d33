-- Everything the hub remembers. Ids and digests are lower-case hex text, times are Unix milliseconds of the
-- hub's clock unless the name says valid_at (corrected agent time), words are those of the model.
-- Tables about a cluster start their key with cluster_id, so that they can be partitioned by it.

CREATE TABLE meta (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
);

-- Who did what, when, with which result; written in the transaction of the change itself.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms BIGINT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  result TEXT NOT NULL,
  detail TEXT NOT NULL
);

-- Named API tokens; only the hash of the secret is kept.
CREATE TABLE api_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  expires_at_ms BIGINT NOT NULL,
  revoked_at_ms BIGINT,
  last_used_at_ms BIGINT
);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name) WHERE revoked_at_ms IS NULL;

-- Signed-in browsers; the cookie's hash, never the cookie.
CREATE TABLE web_sessions (
  session_hash TEXT NOT NULL PRIMARY KEY,
  token_hash TEXT NOT NULL REFERENCES api_tokens (token_hash),
  csrf_hash TEXT NOT NULL,
  -- At most the token's own.
  role TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  expires_at_ms BIGINT NOT NULL
);

-- Links that open one session, once.
CREATE TABLE login_links (
  link_hash TEXT NOT NULL PRIMARY KEY,
  token_hash TEXT NOT NULL REFERENCES api_tokens (token_hash),
  role TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  expires_at_ms BIGINT NOT NULL,
  used_at_ms BIGINT
);

-- Enrolment tokens: single use, the use and the cluster's row in one transaction.
CREATE TABLE enrol_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  display_name TEXT NOT NULL,
  labels TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  expires_at_ms BIGINT NOT NULL,
  used_at_ms BIGINT,
  used_by TEXT
);

CREATE TABLE clusters (
  cluster_id TEXT NOT NULL PRIMARY KEY,
  display_name TEXT NOT NULL,
  -- PENDING, APPROVED, REJECTED, REVOKED
  status TEXT NOT NULL,
  labels TEXT NOT NULL,
  -- DSSE JSON of the newest grant.
  grant_envelope TEXT,
  grant_version BIGINT NOT NULL DEFAULT 0,
  identity_key TEXT NOT NULL UNIQUE,
  cluster_uid TEXT NOT NULL,
  server_version TEXT NOT NULL,
  version_hash TEXT NOT NULL,
  enrolled_at_ms BIGINT NOT NULL,
  decided_at_ms BIGINT,
  decided_by TEXT,
  -- Last authenticated message of any instance.
  last_heard_at_ms BIGINT,
  -- The instance whose verdicts are the cluster's: the one that began a snapshot last.
  auditing_instance TEXT,
  agent_version TEXT NOT NULL DEFAULT '',
  node_versions TEXT NOT NULL DEFAULT '[]',
  clock_offset_ms BIGINT NOT NULL DEFAULT 0,
  -- Manifest active on the auditing instance, as its Bundle records and Hello say.
  active_manifest TEXT,
  active_version BIGINT,
  -- Digest of the policy set in force.
  policy_set TEXT,
  -- When the last complete snapshot ended; null until the first.
  snapshot_at_ms BIGINT
);
CREATE INDEX clusters_status ON clusters (status);
CREATE INDEX clusters_uid ON clusters (cluster_uid);

CREATE TABLE instances (
  cluster_id TEXT NOT NULL REFERENCES clusters (cluster_id),
  instance_id TEXT NOT NULL,
  report_key TEXT NOT NULL,
  join_counter BIGINT NOT NULL,
  -- 1 once a session of that join was seen: before it, the agent may never have got the counter.
  join_confirmed INTEGER NOT NULL DEFAULT 0,
  enrolled_at_ms BIGINT NOT NULL,
  last_heard_at_ms BIGINT,
  -- Set while quarantined: the code (FORK, CLONE_SUSPECTED) and since when.
  quarantine_code TEXT,
  quarantined_at_ms BIGINT,
  PRIMARY KEY (cluster_id, instance_id)
);

-- The newest heartbeat of each instance, its envelope byte for byte.
CREATE TABLE heartbeats (
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  received_at_ms BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  head TEXT NOT NULL,
  spool_records BIGINT NOT NULL,
  spool_bytes BIGINT NOT NULL,
  spool_oldest_age_ms BIGINT NOT NULL,
  trust_state_digest TEXT NOT NULL,
  -- JSON list of {capability, healthy, detail}; kept while heartbeats do not repeat it.
  health TEXT NOT NULL,
  envelope BLOB NOT NULL,
  PRIMARY KEY (cluster_id, instance_id)
);

-- Every certificate ever issued to an agent.
CREATE TABLE certificates (
  serial TEXT NOT NULL PRIMARY KEY,
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  spki_digest TEXT NOT NULL,
  issued_at_ms BIGINT NOT NULL,
  not_after_ms BIGINT NOT NULL,
  revoked_at_ms BIGINT
);
CREATE INDEX certificates_instance ON certificates (cluster_id, instance_id);

-- Nonces of re-entry requests, so that none works twice.
CREATE TABLE reentry_nonces (
  nonce TEXT NOT NULL PRIMARY KEY,
  seen_at_ms BIGINT NOT NULL
);

-- Acknowledged position of each chain.
CREATE TABLE chains (
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  acked_seq BIGINT NOT NULL,
  head TEXT NOT NULL,
  updated_at_ms BIGINT NOT NULL,
  -- 1: an operator released the instance from quarantine; it goes on in a newer epoch.
  closed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (cluster_id, instance_id, epoch)
);

-- Accepted batches, their envelopes byte for byte (encoded provost.v1.Envelope).
CREATE TABLE batches (
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  first_seq BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  prev_head TEXT NOT NULL,
  head TEXT NOT NULL,
  received_at_ms BIGINT NOT NULL,
  envelope BLOB NOT NULL,
  PRIMARY KEY (cluster_id, instance_id, epoch, last_seq)
);

-- Runs of records that are gone: declared ones are signed Elisions, undeclared ones are an alarm.
CREATE TABLE gaps (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  from_seq BIGINT NOT NULL,
  to_seq BIGINT NOT NULL,
  declared INTEGER NOT NULL,
  reason TEXT NOT NULL,
  counts TEXT NOT NULL,
  detected_at_ms BIGINT NOT NULL,
  -- An undeclared gap is resolved when its records arrive, or an Elision declares them.
  resolved_at_ms BIGINT
);
CREATE INDEX gaps_chain ON gaps (cluster_id, instance_id, epoch, from_seq);
CREATE UNIQUE INDEX gaps_undeclared ON gaps (cluster_id, instance_id, epoch, from_seq)
  WHERE declared = 0 AND resolved_at_ms IS NULL;

-- What an operator should look at. One open alarm per (cluster, instance, code).
CREATE TABLE alarms (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  code TEXT NOT NULL,
  detail TEXT NOT NULL,
  times BIGINT NOT NULL,
  raised_at_ms BIGINT NOT NULL,
  last_at_ms BIGINT NOT NULL,
  resolved_at_ms BIGINT
);
CREATE UNIQUE INDEX alarms_open ON alarms (cluster_id, instance_id, code) WHERE resolved_at_ms IS NULL;

-- Policy sets by digest: the encoded bytes, and their entries as JSON in index order.
CREATE TABLE policy_sets (
  digest TEXT NOT NULL PRIMARY KEY,
  encoded BLOB NOT NULL,
  entries TEXT NOT NULL,
  first_seen_at_ms BIGINT NOT NULL
);

-- What is known of each policy: from the newest published bundle, else from a policy set.
CREATE TABLE policies (
  policy_id TEXT NOT NULL PRIMARY KEY,
  code TEXT NOT NULL,
  title TEXT NOT NULL,
  category TEXT NOT NULL,
  severity TEXT NOT NULL,
  -- PolicyMeta as JSON; empty where only a policy set named the policy.
  meta TEXT NOT NULL,
  source TEXT NOT NULL,
  manifest TEXT NOT NULL,
  updated_at_ms BIGINT NOT NULL
);

CREATE TABLE policy_controls (
  policy_id TEXT NOT NULL,
  framework TEXT NOT NULL,
  framework_version TEXT NOT NULL,
  control_id TEXT NOT NULL,
  strength TEXT NOT NULL,
  review TEXT NOT NULL,
  PRIMARY KEY (policy_id, framework, framework_version, control_id)
);
CREATE INDEX policy_controls_control ON policy_controls (framework, framework_version, control_id);

-- Subjects that have a verdict now. subject_key is a digest of the identity.
CREATE TABLE subjects (
  cluster_id TEXT NOT NULL,
  subject_key TEXT NOT NULL,
  subject_type TEXT NOT NULL,
  api_group TEXT NOT NULL,
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  -- Name, Terraform address or repository path.
  name TEXT NOT NULL,
  uid TEXT NOT NULL,
  -- Attributes as JSON.
  attributes TEXT NOT NULL,
  first_seen_at_ms BIGINT NOT NULL,
  updated_at_ms BIGINT NOT NULL,
  seen_snapshot TEXT NOT NULL,
  stated_snapshot TEXT NOT NULL,
  PRIMARY KEY (cluster_id, subject_key)
);

-- Current verdicts: one row per (cluster, binding, subject).
CREATE TABLE states (
  cluster_id TEXT NOT NULL,
  subject_key TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  binding_id TEXT NOT NULL,
  namespace TEXT NOT NULL,
  outcome TEXT NOT NULL,
  underlying TEXT,
  action TEXT NOT NULL,
  severity TEXT NOT NULL,
  scored INTEGER NOT NULL,
  findings_total BIGINT NOT NULL,
  code TEXT NOT NULL,
  message TEXT NOT NULL,
  revision TEXT NOT NULL,
  -- Since when the outcome is what it is.
  since_valid_at_ms BIGINT NOT NULL,
  valid_at_ms BIGINT NOT NULL,
  received_at_ms BIGINT NOT NULL,
  seen_snapshot TEXT NOT NULL,
  PRIMARY KEY (cluster_id, subject_key, policy_id, binding_id)
);
CREATE INDEX states_policy ON states (cluster_id, policy_id, outcome);

-- Findings of failing verdicts; closed ones stay, with the time they closed.
CREATE TABLE findings (
  cluster_id TEXT NOT NULL,
  binding_id TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  subject_key TEXT NOT NULL,
  subject_type TEXT NOT NULL,
  api_group TEXT NOT NULL,
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  severity TEXT NOT NULL,
  action TEXT NOT NULL,
  outcome TEXT NOT NULL,
  path TEXT NOT NULL,
  message TEXT NOT NULL,
  patch TEXT,
  line BIGINT,
  -- Attributes as JSON, as of the newest record.
  attributes TEXT NOT NULL,
  -- What makes causes: `Kind name` of the controller, or of the subject where it has none; and the owner.
  template TEXT NOT NULL,
  owner TEXT NOT NULL,
  first_valid_at_ms BIGINT NOT NULL,
  opened_valid_at_ms BIGINT NOT NULL,
  received_at_ms BIGINT NOT NULL,
  closed_valid_at_ms BIGINT,
  closed_at_ms BIGINT,
  close_reason TEXT,
  PRIMARY KEY (cluster_id, binding_id, fingerprint)
);
CREATE INDEX findings_subject ON findings (cluster_id, subject_key);
CREATE INDEX findings_open ON findings (policy_id, cluster_id) WHERE closed_at_ms IS NULL;
CREATE INDEX findings_fingerprint ON findings (fingerprint);

-- Every change of a verdict, append only. to_outcome is null where the verdict ended.
CREATE TABLE transitions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cluster_id TEXT NOT NULL,
  subject_key TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  binding_id TEXT NOT NULL,
  from_outcome TEXT,
  to_outcome TEXT,
  severity TEXT NOT NULL,
  -- change, snapshot, withdrawn, removed, replaced, unseen
  reason TEXT NOT NULL,
  coalesced BIGINT NOT NULL,
  instance_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  valid_at_ms BIGINT NOT NULL,
  received_at_ms BIGINT NOT NULL
);
CREATE INDEX transitions_subject ON transitions (cluster_id, subject_key, id);
CREATE INDEX transitions_time ON transitions (received_at_ms);

-- Admission reviews that were denied, warned about or failed. Events: they change no state.
CREATE TABLE admissions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  subject_type TEXT NOT NULL,
  api_group TEXT NOT NULL,
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  attributes TEXT NOT NULL,
  operation TEXT NOT NULL,
  user_digest TEXT NOT NULL,
  allowed INTEGER NOT NULL,
  -- JSON list of {policy, binding, outcome, action, severity, findings, findingsTotal, message, code}.
  verdicts TEXT NOT NULL,
  duration_us BIGINT NOT NULL,
  coalesced BIGINT NOT NULL,
  valid_at_ms BIGINT NOT NULL,
  received_at_ms BIGINT NOT NULL
);
CREATE INDEX admissions_cluster ON admissions (cluster_id, id);

-- What gives no verdict, and why, as of the last complete snapshot.
CREATE TABLE not_evaluated (
  cluster_id TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  binding_id TEXT NOT NULL,
  api_group TEXT NOT NULL,
  kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  valid_at_ms BIGINT NOT NULL,
  PRIMARY KEY (cluster_id, policy_id, binding_id, api_group, kind)
);

-- Snapshots under way and ended: state is OPEN, COMPLETE or VOID (with the reason).
CREATE TABLE snapshots (
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  snapshot_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  begin_seq BIGINT NOT NULL,
  end_seq BIGINT,
  policy_set TEXT NOT NULL,
  reason TEXT NOT NULL,
  state TEXT NOT NULL,
  void_reason TEXT NOT NULL,
  -- What arrived so far: subjects stated, and JSON of verdicts stated by binding index and outcome.
  stated_subjects BIGINT NOT NULL,
  stated_counts TEXT NOT NULL,
  begun_at_ms BIGINT NOT NULL,
  ended_at_ms BIGINT,
  PRIMARY KEY (cluster_id, instance_id, snapshot_id)
);

-- Bundle, trust, clock and mode records, as JSON.
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  kind TEXT NOT NULL,
  event TEXT NOT NULL,
  detail TEXT NOT NULL,
  valid_at_ms BIGINT NOT NULL,
  received_at_ms BIGINT NOT NULL
);
CREATE INDEX events_cluster ON events (cluster_id, id);

-- Maintained counts of states. Never read without also asking who is stale.
CREATE TABLE rollup_policy (
  cluster_id TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  binding_id TEXT NOT NULL,
  severity TEXT NOT NULL,
  scored INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  n BIGINT NOT NULL,
  PRIMARY KEY (cluster_id, policy_id, binding_id, severity, scored, outcome)
);
CREATE TABLE rollup_namespace (
  cluster_id TEXT NOT NULL,
  namespace TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  severity TEXT NOT NULL,
  scored INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  n BIGINT NOT NULL,
  PRIMARY KEY (cluster_id, namespace, policy_id, severity, scored, outcome)
);

-- Root envelopes (DSSE JSON), version by version.
CREATE TABLE roots (
  version BIGINT NOT NULL PRIMARY KEY,
  payload_digest TEXT NOT NULL,
  envelope TEXT NOT NULL,
  added_at_ms BIGINT NOT NULL,
  added_by TEXT NOT NULL
);

CREATE TABLE blobs (
  digest TEXT NOT NULL PRIMARY KEY,
  size BIGINT NOT NULL,
  content BLOB NOT NULL
);

-- Published bundles: gate passed, offered to their channel while they are its newest version.
CREATE TABLE bundles (
  channel TEXT NOT NULL,
  version BIGINT NOT NULL,
  manifest_digest TEXT NOT NULL UNIQUE,
  content_digest TEXT NOT NULL,
  -- DSSE JSON.
  manifest_envelope TEXT NOT NULL,
  floor_version BIGINT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  expires_at_ms BIGINT NOT NULL,
  policies BIGINT NOT NULL,
  published_at_ms BIGINT NOT NULL,
  published_by TEXT NOT NULL,
  PRIMARY KEY (channel, version)
);

CREATE TABLE bundle_files (
  manifest_digest TEXT NOT NULL,
  path TEXT NOT NULL,
  digest TEXT NOT NULL,
  size BIGINT NOT NULL,
  PRIMARY KEY (manifest_digest, path)
);
CREATE INDEX bundle_files_digest ON bundle_files (digest);

-- What each instance said to each bundle: OFFERED, ACTIVE or REFUSED with code and errors (JSON).
CREATE TABLE bundle_status (
  cluster_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  manifest_digest TEXT NOT NULL,
  version BIGINT NOT NULL,
  status TEXT NOT NULL,
  code TEXT NOT NULL,
  errors TEXT NOT NULL,
  at_ms BIGINT NOT NULL,
  PRIMARY KEY (cluster_id, instance_id, manifest_digest)
);
