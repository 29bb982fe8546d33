//! What a query string says about findings and verdicts, and the filter it comes to.
//!
//! One place for API and pages, so that a page's address and its API twin mean the same. The
//! search bar's words (`state:fail severity>=high cluster:prod-* web`) come to the same fields.

use provost_model::{ClusterId, Outcome, Severity};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::link::Link;
use crate::store::findings::{FindingFilter, FindingState};
use crate::store::identity::Cluster;
use crate::store::verdicts::VerdictFilter;

/// Filters as they stand in the address. Lists are separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct RowQuery {
    /// fail, warn, exempt, stale, closed; verdicts also pass, error, skip. Default: what is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// critical, high, medium, low, info.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// This severity or worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<String>,
    /// Id or display name; `*` stands for any run of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Policy id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// `-` means cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Owning template of a cause, such as `Deployment shop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Search: `state:fail severity>=high cluster:prod-* policy:ID namespace:NAME kind:KIND`, and
    /// further words that name, message or path must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Only verdicts that count in the score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored: Option<bool>,
}

/// What cluster-scoped objects have in place of a namespace, in addresses.
pub const NO_NAMESPACE: &str = "-";

impl RowQuery {
    /// The words of the search bar become fields; a field that is set by itself wins. Empty fields
    /// of a form are no filter.
    pub fn normalised(mut self) -> Result<Self, Problem> {
        let fields = [
            &mut self.state,
            &mut self.severity,
            &mut self.min_severity,
            &mut self.cluster,
            &mut self.policy,
            &mut self.binding,
            &mut self.category,
            &mut self.namespace,
            &mut self.kind,
            &mut self.template,
            &mut self.fingerprint,
        ];
        for field in fields {
            *field = field.take().map(|text| text.trim().to_owned()).filter(|t| !t.is_empty());
        }
        let Some(search) = self.q.take() else { return Ok(self) };
        let mut words = Vec::new();
        for word in search.split_whitespace() {
            if !self.take_word(word)? {
                words.push(word);
            }
        }
        self.q = Some(words.join(" ")).filter(|text| !text.is_empty());
        Ok(self)
    }

    /// Whether `word` was a filter.
    fn take_word(&mut self, word: &str) -> Result<bool, Problem> {
        if let Some(severity) = word.strip_prefix("severity>=") {
            self.min_severity.get_or_insert_with(|| severity.to_owned());
            return Ok(true);
        }
        let Some((key, value)) = word.split_once(':') else { return Ok(false) };
        let field = match key {
            "state" => &mut self.state,
            "severity" => &mut self.severity,
            "cluster" => &mut self.cluster,
            "policy" => &mut self.policy,
            "binding" => &mut self.binding,
            "category" => &mut self.category,
            "namespace" => &mut self.namespace,
            "kind" => &mut self.kind,
            "fingerprint" => &mut self.fingerprint,
            _ => return Ok(false),
        };
        if value.is_empty() {
            return Err(Problem::invalid(format!("{key}: needs a value, as in {key}:VALUE")));
        }
        field.get_or_insert_with(|| value.to_owned());
        Ok(true)
    }

    pub fn finding_filter(&self, clusters: &[Cluster]) -> Result<FindingFilter, Problem> {
        let mut states = Vec::new();
        for word in list(self.state.as_deref()) {
            match word {
                "open" => states.extend(FindingState::OPEN),
                other => states.push(finding_state(other)?),
            }
        }
        Ok(FindingFilter {
            states,
            clusters: self.cluster_ids(clusters),
            severities: self.severities()?,
            policy: self.policy.clone(),
            binding: self.binding.clone(),
            category: self.category.clone(),
            namespace: self.namespace_filter(),
            kind: self.kind.clone(),
            template: self.template.clone(),
            fingerprint: self.fingerprint.clone(),
            text: self.q.clone(),
        })
    }

    /// `stale` narrows to clusters that are away, any outcome to those that are heard.
    pub fn verdict_filter(
        &self,
        clusters: &[Cluster],
        stale: &[ClusterId],
    ) -> Result<VerdictFilter, Problem> {
        let mut outcomes = Vec::new();
        let mut away = false;
        for word in list(self.state.as_deref()) {
            if word == "stale" {
                away = true;
            } else {
                outcomes.push(parse::<Outcome>("state", word)?);
            }
        }
        if away && !outcomes.is_empty() {
            return Err(Problem::invalid("state: ask for stale alone, or for outcomes without it"));
        }
        let mut chosen = self.cluster_ids(clusters);
        if away || !outcomes.is_empty() {
            let all = || clusters.iter().map(|c| c.id).collect();
            let mut ids: Vec<ClusterId> = chosen.unwrap_or_else(all);
            ids.retain(|id| stale.contains(id) == away);
            chosen = Some(ids);
        }
        Ok(VerdictFilter {
            outcomes,
            clusters: chosen,
            severities: self.severities()?,
            policy: self.policy.clone(),
            category: self.category.clone(),
            namespace: self.namespace_filter(),
            kind: self.kind.clone(),
            text: self.q.clone(),
            scored: self.scored.unwrap_or(false),
        })
    }

    /// The address of `path` with these filters.
    #[must_use]
    pub fn link(&self, path: &str) -> Link {
        let Self {
            state,
            severity,
            min_severity,
            cluster,
            policy,
            binding,
            category,
            namespace,
            kind,
            template,
            fingerprint,
            q,
            scored,
        } = self;
        Link::to(path)
            .maybe("state", state.as_deref())
            .maybe("severity", severity.as_deref())
            .maybe("minSeverity", min_severity.as_deref())
            .maybe("cluster", cluster.as_deref())
            .maybe("policy", policy.as_deref())
            .maybe("binding", binding.as_deref())
            .maybe("category", category.as_deref())
            .maybe("namespace", namespace.as_deref())
            .maybe("kind", kind.as_deref())
            .maybe("template", template.as_deref())
            .maybe("fingerprint", fingerprint.as_deref())
            .maybe("q", q.as_deref())
            .maybe("scored", scored.filter(|scored| *scored).map(|_| "true"))
    }

    fn severities(&self) -> Result<Vec<Severity>, Problem> {
        let mut severities = Vec::new();
        for word in list(self.severity.as_deref()) {
            severities.push(parse::<Severity>("severity", word)?);
        }
        let Some(least) = &self.min_severity else { return Ok(severities) };
        let least = parse::<Severity>("minSeverity", least)?;
        let enough = |severity: &Severity| {
            crate::store::findings::severity_rank(*severity)
                <= crate::store::findings::severity_rank(least)
        };
        if severities.is_empty() {
            severities = Severity::ALL.to_vec();
        } else if !severities.iter().any(enough) {
            return Err(Problem::invalid("severity and minSeverity exclude each other"));
        }
        severities.retain(enough);
        Ok(severities)
    }

    fn cluster_ids(&self, clusters: &[Cluster]) -> Option<Vec<ClusterId>> {
        self.cluster.as_ref()?;
        let patterns: Vec<&str> = list(self.cluster.as_deref()).collect();
        let wanted = |cluster: &&Cluster| {
            let id = cluster.id.to_string();
            patterns.iter().any(|p| *p == id || matches_name(p, &cluster.display_name))
        };
        Some(clusters.iter().filter(wanted).map(|c| c.id).collect())
    }

    fn namespace_filter(&self) -> Option<String> {
        let namespace = self.namespace.as_deref()?;
        Some(if namespace == NO_NAMESPACE { String::new() } else { namespace.to_owned() })
    }
}

fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn parse<T: std::str::FromStr>(field: &str, word: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    word.parse().map_err(|error| Problem::invalid(format!("{field}: {error}")))
}

fn finding_state(word: &str) -> Result<FindingState, Problem> {
    match word {
        "fail" => Ok(FindingState::Fail),
        "warn" => Ok(FindingState::Warn),
        "exempt" => Ok(FindingState::Exempt),
        "stale" => Ok(FindingState::Stale),
        "closed" => Ok(FindingState::Closed),
        other => Err(Problem::invalid(format!(
            "state: unknown word {other:?}: expected open, fail, warn, exempt, stale or closed"
        ))),
    }
}

/// `*` stands for any run of characters.
fn matches_name(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(q: &str) -> Result<RowQuery, Problem> {
        RowQuery { q: Some(q.to_owned()), ..RowQuery::default() }.normalised()
    }

    #[test]
    fn the_search_bar_is_short_for_the_filters() {
        let query = search("state:fail severity>=high cluster:prod-* web  server").unwrap();
        assert_eq!(query.state.as_deref(), Some("fail"));
        assert_eq!(query.min_severity.as_deref(), Some("high"));
        assert_eq!(query.cluster.as_deref(), Some("prod-*"));
        assert_eq!(query.q.as_deref(), Some("web server"));
        assert_eq!(query.severities().unwrap(), [Severity::High, Severity::Critical]);
        assert!(search("state:").is_err());
        assert_eq!(search("image:tag").unwrap().q.as_deref(), Some("image:tag"));
    }

    #[test]
    fn empty_fields_of_a_form_are_no_filter() {
        let query = RowQuery { policy: Some(" ".to_owned()), ..RowQuery::default() };
        assert_eq!(query.normalised().unwrap(), RowQuery::default());
    }

    #[test]
    fn unknown_words_are_refused_not_ignored() {
        for query in ["state:red", "severity:bad", "severity>=bad"] {
            let query = search(query).unwrap();
            assert!(query.finding_filter(&[]).is_err(), "{query:?}");
        }
    }

    #[test]
    fn open_adds_to_other_states() {
        let states = |q| search(q).unwrap().finding_filter(&[]).unwrap().states;
        let [fail, warn, stale] = FindingState::OPEN;
        assert_eq!(states("state:open,closed"), [fail, warn, stale, FindingState::Closed]);
        assert_eq!(states("state:open"), FindingState::OPEN);
        assert_eq!(states("web"), []);
    }

    #[test]
    fn names_match_with_stars() {
        for (pattern, name, expected) in [
            ("prod-*", "prod-eu", true),
            ("prod-*", "my-prod-eu", false),
            ("*eu*3", "prod-eu-03", true),
            ("*eu*4", "prod-eu-03", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("edge", "edge", true),
        ] {
            assert_eq!(matches_name(pattern, name), expected, "{pattern} {name}");
        }
    }
}
