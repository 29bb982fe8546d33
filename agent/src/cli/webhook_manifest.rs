//! `provost-agent webhook-manifest`: the registration for the API server, from the data folder.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use provost_model::record::{BundleRecord, ClockQuality, ModeRecord, SnapshotReason, TrustRecord};
use serde_json::{Value, json};

use super::{Output, SettingsFlags};
use crate::admission::{Certificate, Endpoint, FOLDER, Registration};
use crate::config::Settings;
use crate::report::Journal;
use crate::run;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    settings: SettingsFlags,
    /// Namespace of the agent's Service; it is excluded, so that the agent can always be mended.
    #[arg(long, default_value = "provost-system")]
    namespace: String,
    /// Name of the agent's Service.
    #[arg(long, default_value = "provost-agent")]
    service: String,
    /// Port of the agent's Service.
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// Ask at this address instead of a Service.
    #[arg(long, value_name = "URL", conflicts_with_all = ["service", "port"])]
    url: Option<String>,
    /// A namespace that is never asked about, besides kube-system and the agent's own; may be
    /// repeated.
    #[arg(long = "exclude-namespace", value_name = "NAME")]
    excluded: Vec<String>,
    /// text: the one document, as kubectl takes it; json: a List of all there are, for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,
}

impl Arguments {
    /// Prints it; true when it was printed.
    pub async fn run(&self) -> anyhow::Result<bool> {
        let overrides = self.settings.overrides();
        let file = self.settings.config.as_deref();
        let settings: Settings = provost_runtime::config::load(file, &overrides)?;
        let certificate = certificate(&settings)?;
        let set = run::last_good_set(&settings.data_dir, Arc::new(Silent)).await?;
        let set = set.with_context(|| {
            format!(
                "there is no bundle in {} yet: enrol the agent first",
                settings.data_dir.display()
            )
        })?;
        let registration = self.registration(&certificate).document(&set);
        super::print(&serde_json::to_string_pretty(&shown(self.output, registration))?)?;
        Ok(true)
    }

    fn registration(&self, certificate: &Certificate) -> Registration {
        let endpoint = match &self.url {
            Some(url) => Endpoint::Url(url.clone()),
            None => Endpoint::Service {
                namespace: self.namespace.clone(),
                name: self.service.clone(),
                port: self.port,
            },
        };
        Registration {
            endpoint,
            ca_pem: certificate.ca_pem().to_owned(),
            excluded_namespaces: self.excluded_namespaces(),
        }
    }

    /// The agent's own and kube-system always, so that the cluster can be mended.
    fn excluded_namespaces(&self) -> Vec<String> {
        let mut namespaces = vec![self.namespace.clone(), "kube-system".to_owned()];
        namespaces.extend(self.excluded.iter().cloned());
        let mut seen = BTreeSet::new();
        namespaces.retain(|namespace| seen.insert(namespace.clone()));
        namespaces
    }
}

/// The one that the agent answers with. It is the agent that makes it: another one here would cut
/// off a webhook that is in use.
fn certificate(settings: &Settings) -> anyhow::Result<Certificate> {
    let Some(admission) = &settings.admission else {
        bail!(
            "the settings have no `admission`: the agent answers no reviews. Add it and start the agent, then register"
        );
    };
    let folder = settings.data_dir.join(FOLDER);
    if !folder.join("server.pem").is_file() {
        bail!(
            "there is no admission certificate in {} yet: start the agent with `admission` in its settings, then register",
            folder.display()
        );
    }
    Certificate::load(&folder, &admission.names).context(
        "the admission certificate cannot be used: start the agent again with these settings, which makes one that fits, then register",
    )
}

/// One registration is all there is; a List stays one when there are more.
fn shown(output: Output, registration: Value) -> Value {
    match output {
        Output::Text => registration,
        Output::Json => json!({"apiVersion": "v1", "kind": "List", "items": [registration]}),
    }
}

/// Loading a bundle to look at it is no event.
struct Silent;

#[async_trait]
impl Journal for Silent {
    async fn bundle(&self, _: BundleRecord) {}
    async fn trust(&self, _: TrustRecord) {}
    async fn mode(&self, _: ModeRecord) {}
    async fn clock(&self, _: i64, _: ClockQuality) {}
    async fn request_snapshot(&self, _: SnapshotReason) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Admission;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn a_further_namespace_leaves_the_others_excluded() {
        let line = ["webhook-manifest", "--exclude-namespace", "ci", "--exclude-namespace", "dev"];
        let arguments = Command::parse_from(line).arguments;
        let expected = ["provost-system", "kube-system", "ci", "dev"];
        assert_eq!(arguments.excluded_namespaces(), expected);
        let arguments = Command::parse_from(["webhook-manifest"]).arguments;
        assert_eq!(arguments.excluded_namespaces(), expected[..2]);
    }

    #[test]
    fn json_is_a_list_of_the_registrations() {
        let registration = json!({"kind": "ValidatingWebhookConfiguration"});
        let line = Command::parse_from(["webhook-manifest", "-o", "json"]);
        let list = shown(line.arguments.output, registration.clone());
        assert_eq!((&list["kind"], &list["items"][0]), (&json!("List"), &registration));
        let plain = Command::parse_from(["webhook-manifest"]).arguments.output;
        assert_eq!(shown(plain, registration.clone()), registration);
    }

    #[test]
    fn printing_needs_what_the_agent_made_and_changes_none_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings { data_dir: folder.path().to_owned(), ..Settings::default() };
        let words = |settings: &Settings| match certificate(settings) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("a certificate out of nothing"),
        };
        assert!(words(&settings).contains("have no `admission`"));
        settings.admission = Some(Admission::default());
        assert!(words(&settings).contains("start the agent"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let names = Admission::default().names;
        let live = folder.path().join(FOLDER);
        let made = Certificate::load_or_create(&live, &names).unwrap();
        settings.admission =
            Some(Admission { names: vec!["b.svc".to_owned()], ..Admission::default() });
        assert!(words(&settings).contains("start the agent again"));
        settings.admission = Some(Admission::default());
        assert_eq!(certificate(&settings).unwrap().ca_pem(), made.ca_pem());
    }
}
