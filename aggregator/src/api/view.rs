//! The fleet with its numbers, as API and pages both show it: loaded once for an answer.

use std::collections::{BTreeMap, BTreeSet};

use provost_model::{ClusterId, Outcome, PolicyId, Severity};

use super::hub::Hub;
use super::problem::Problem;
use crate::stamp::Stamp;
use crate::store::findings::OpenCount;
use crate::store::identity::{Cluster, ClusterStatus};
use crate::store::reports::{CapabilityHealth, Impaired};
use crate::tally::{self, Tally, ratio};

/// Every cluster in order of name and id, with the numbers of those that are approved.
#[derive(Clone, Debug)]
pub struct FleetView {
    pub clusters: Vec<ClusterView>,
    /// Of the approved clusters together; their sum is [`Self::tally`].
    pub policies: BTreeMap<PolicyId, Tally>,
    pub now: Stamp,
}

#[derive(Clone, Debug)]
pub struct ClusterView {
    pub cluster: Cluster,
    /// Approved, heard within its time, and not quarantined.
    pub fresh: bool,
    pub tally: Tally,
    /// Parts of its agent without which not everything is known; of one that is heard.
    pub impaired: Vec<CapabilityHealth>,
    /// Open findings (fail and warn) by severity.
    pub open: BTreeMap<Severity, u64>,
}

impl FleetView {
    pub async fn load(hub: &Hub) -> Result<Self, Problem> {
        let mut clusters = hub.store.clusters().await?;
        let approved = clusters.iter().filter(|c| c.status == ClusterStatus::Approved);
        let approved: BTreeSet<ClusterId> = approved.map(|cluster| cluster.id).collect();
        let heard = clusters.iter().filter(|cluster| hub.is_fresh(cluster));
        let heard: BTreeSet<ClusterId> = heard.map(|cluster| cluster.id).collect();
        let fresh = |id: ClusterId| heard.contains(&id);
        let mut counts = hub.store.policy_counts(None).await?;
        counts.retain(|count| approved.contains(&count.cluster));
        let mut tallies = tally::by_cluster(&counts, fresh);
        let mut policies = tally::by_policy(&counts, fresh);
        for row in hub.store.not_evaluated(None).await? {
            if fresh(row.cluster) {
                tallies.entry(row.cluster).or_default().states.not_evaluated += 1;
                policies.entry(row.policy).or_default().states.not_evaluated += 1;
            }
        }
        let mut impaired: BTreeMap<ClusterId, Vec<CapabilityHealth>> = BTreeMap::new();
        for Impaired { cluster, part } in hub.store.impaired().await? {
            if fresh(cluster) {
                impaired.entry(cluster).or_default().push(part);
            }
        }
        let mut open = by_severity(&hub.store.open_by_cluster().await?);
        clusters.sort_by(|a, b| (&a.display_name, a.id).cmp(&(&b.display_name, b.id)));
        let view = |cluster: Cluster| ClusterView {
            fresh: fresh(cluster.id),
            tally: tallies.remove(&cluster.id).unwrap_or_default(),
            impaired: impaired.remove(&cluster.id).unwrap_or_default(),
            open: open.remove(&cluster.id).unwrap_or_default(),
            cluster,
        };
        let clusters = clusters.into_iter().map(view).collect();
        Ok(Self { clusters, policies, now: hub.now() })
    }

    pub fn approved(&self) -> impl Iterator<Item = &ClusterView> {
        self.clusters.iter().filter(|view| view.cluster.status == ClusterStatus::Approved)
    }

    #[must_use]
    pub fn stale_ids(&self) -> Vec<ClusterId> {
        self.approved().filter(|view| !view.fresh).map(|view| view.cluster.id).collect()
    }

    #[must_use]
    pub fn count(&self, wanted: impl Fn(&ClusterView) -> bool) -> u64 {
        u64::try_from(self.clusters.iter().filter(|view| wanted(view)).count()).unwrap_or(u64::MAX)
    }

    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut all = Tally::default();
        for view in self.approved() {
            all.merge(&view.tally);
        }
        all
    }

    /// Share of approved clusters that were heard within their time.
    #[must_use]
    pub fn freshness(&self) -> Option<f64> {
        let approved = self.count(|view| view.cluster.status == ClusterStatus::Approved);
        ratio(self.count(|view| view.fresh), approved)
    }

    #[must_use]
    pub fn open_findings(&self) -> u64 {
        self.approved().map(ClusterView::open_total).sum()
    }
}

impl ClusterView {
    pub async fn load(hub: &Hub, cluster: Cluster) -> Result<Self, Problem> {
        let id = cluster.id;
        let fresh = hub.is_fresh(&cluster);
        let counts = hub.store.policy_counts(Some(id)).await?;
        let mut tally = tally::by_cluster(&counts, |_| fresh).remove(&id).unwrap_or_default();
        if fresh {
            let rows = hub.store.not_evaluated(Some(id)).await?.len();
            tally.states.not_evaluated = u64::try_from(rows).unwrap_or(u64::MAX);
        }
        let impaired = hub.store.impaired().await?.into_iter().filter(|i| fresh && i.cluster == id);
        let impaired = impaired.map(|impaired| impaired.part).collect();
        let open = by_severity(&hub.store.open_by_cluster().await?).remove(&id);
        Ok(Self { cluster, fresh, tally, impaired, open: open.unwrap_or_default() })
    }

    #[must_use]
    pub fn position(&self) -> (String, ClusterId) {
        (self.cluster.display_name.clone(), self.cluster.id)
    }

    #[must_use]
    pub fn open_of(&self, severity: Severity) -> u64 {
        self.open.get(&severity).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn open_total(&self) -> u64 {
        self.open.values().sum()
    }

    /// Approved, and not heard within its time.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.cluster.status == ClusterStatus::Approved && !self.fresh
    }

    /// A word of the clusters list's `state` filter.
    #[must_use]
    pub fn is_in(&self, state: &str) -> bool {
        match state {
            "fresh" => self.fresh,
            "stale" => self.is_stale(),
            other => self.cluster.status.as_str().eq_ignore_ascii_case(other),
        }
    }
}

fn by_severity(counts: &[OpenCount]) -> BTreeMap<ClusterId, BTreeMap<Severity, u64>> {
    let mut open: BTreeMap<ClusterId, BTreeMap<Severity, u64>> = BTreeMap::new();
    for count in counts {
        if matches!(count.outcome, Outcome::Fail | Outcome::Warn) {
            let severities = open.entry(count.cluster).or_default();
            *severities.entry(count.severity).or_default() += count.findings;
        }
    }
    open
}
