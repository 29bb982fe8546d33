//! Records as agents send them, under the policy set of the library.

use std::path::Path;

use anyhow::anyhow;
use provost_agent::simulate::records::{World, record};
use provost_bundle::{Bundle, source};
use provost_engine::{Cluster, CompiledSet, Options};
use provost_model::{Digest, Record};
use provost_runtime::clock::System;

pub fn library() -> anyhow::Result<Bundle> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let source = source::read_dir(&folder).map_err(|problems| anyhow!("{problems:?}"))?;
    Ok(source.into_bundle())
}

/// So many objects stated first, then changes of one verdict each.
pub fn world(objects: u64) -> anyhow::Result<World> {
    let set = CompiledSet::compile(&library()?, &Cluster::default(), &Options::default());
    let set = set.policy_set().clone();
    Ok(World { digest: Digest::of(&provost_proto::policy_set::encode(&set)), set, objects })
}

pub fn records(world: &World, from: u64, count: u64) -> Vec<Record> {
    let clock = System::new();
    let one = |number| record(number + 1, world.body(number), Some(world.digest), &clock);
    (from..from + count).map(one).collect()
}
