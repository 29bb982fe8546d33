//! One kind: list it page by page, watch it, list again when the watch cannot be continued.

use futures::StreamExt as _;
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as start};
use kube::{Api, Client};
use provost_model::subject::ResourceRef;
use provost_runtime::telemetry::trace::Moment;
use tokio::sync::mpsc;

use super::raw::Raw;
use crate::source::{Change, Observed, Scope};

/// Objects in memory at once while a kind is listed.
const PAGE: u32 = 200;

type Key = (String, String);

/// What became of a kind; told whenever it may have changed.
#[derive(Debug)]
pub(super) enum KindState {
    Listed(Key),
    Forbidden(Key),
    Broken(Key),
}

/// Ends when nobody takes the changes any more. Errors are told and tried again with a growing delay.
pub(super) async fn run(
    client: Client,
    resource: ApiResource,
    changes: mpsc::Sender<Change>,
    states: mpsc::Sender<KindState>,
) {
    let key = (resource.group.clone(), resource.kind.clone());
    let api: Api<Raw> = Api::all_with(client, &resource);
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = start(api, config).default_backoff().boxed();
    let mut troubled = false;
    while let Some(event) = events.next().await {
        let delivered = match event {
            Ok(event) => {
                let listed = matches!(event, Event::InitDone);
                let taken = deliver(event, &resource, &changes).await;
                // Said after the listing's end stands in the channel, so that "complete" comes last.
                if listed || std::mem::take(&mut troubled) {
                    let _ = states.send(KindState::Listed(key.clone())).await;
                }
                taken
            }
            Err(error) => {
                troubled = true;
                let _ = states.send(state_of(&error, &key)).await;
                !changes.is_closed()
            }
        };
        if !delivered {
            return;
        }
    }
}

/// False when nobody takes the changes any more.
async fn deliver(
    event: Event<Raw>,
    resource: &ApiResource,
    changes: &mpsc::Sender<Change>,
) -> bool {
    let scope = || Scope::Kind { group: resource.group.clone(), kind: resource.kind.clone() };
    let change = match event {
        Event::Init => Change::Begin(scope()),
        Event::InitDone => Change::End(scope()),
        Event::Apply(raw) | Event::InitApply(raw) => exists(raw, resource),
        Event::Delete(raw) => Change::Gone { subject: subject(&raw, resource) },
    };
    changes.send(change).await.is_ok()
}

/// Items of a list come without apiVersion and kind: what was asked for is filled in.
fn exists(raw: Raw, resource: &ApiResource) -> Change {
    let subject = subject(&raw, resource);
    let mut object = raw.object;
    object.set_type(&resource.api_version, &resource.kind);
    Change::Exists(Box::new(Observed { object, subject, location: None, seen: Moment::now() }))
}

fn subject(raw: &Raw, resource: &ApiResource) -> ResourceRef {
    ResourceRef {
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        namespace: raw.object.namespace().to_owned(),
        name: raw.object.name().to_owned(),
    }
}

fn state_of(error: &watcher::Error, key: &Key) -> KindState {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    let code = status.map(|status| status.code);
    // An expired resourceVersion is how a watch ends in good order; the kind is listed again.
    if code == Some(410) {
        tracing::debug!(group = key.0, kind = key.1, "the watch expired; listing again");
        return KindState::Broken(key.clone());
    }
    tracing::warn!(group = key.0, kind = key.1, error = %error, "cannot watch; trying again");
    if matches!(code, Some(403..=405)) {
        KindState::Forbidden(key.clone())
    } else {
        KindState::Broken(key.clone())
    }
}
