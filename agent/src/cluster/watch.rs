//! One kind: list it page by page, watch it, list again when the watch cannot be continued.

use std::time::Duration;

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

/// A server whose history ends at once is not asked in a tight loop.
const LIST_AGAIN_AFTER: Duration = Duration::from_secs(1);

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
    let begin = || start(api.clone(), config.clone()).default_backoff().boxed();
    let mut events = begin();
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
                if never_ends(&error) {
                    tokio::time::sleep(LIST_AGAIN_AFTER).await;
                    events = begin();
                }
                !changes.is_closed()
            }
        };
        if !delivered {
            return;
        }
    }
}

/// kube lists again when an event says that the watch expired, and not when the answer to its
/// request does, as aggregated API servers and proxies may: it would ask for the same version forever.
fn never_ends(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
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
        Event::InitDone => Change::End { scope: scope(), seen: Moment::now() },
        Event::Apply(raw) | Event::InitApply(raw) => exists(raw, resource),
        Event::Delete(raw) => {
            Change::Gone { subject: subject(&raw, resource), seen: Moment::now() }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    /// Each list has one service and a version of its own; what was watched from the first one is
    /// history that the server has dropped.
    const LISTS: [(&str, &str); 2] = [("first", "10"), ("second", "20")];

    /// How the server says so.
    #[derive(Clone, Copy, Debug)]
    enum Says {
        /// By its answer to the request.
        Gone,
        /// By an event of a watch that had begun.
        Expired,
    }

    async fn answer(mut stream: TcpStream, lists: Arc<AtomicUsize>, says: Says) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            request.push(byte);
        }
        let request = String::from_utf8(request).unwrap();
        let line = request.lines().next().unwrap();
        let expired = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410});
        let (status, body) = if !line.contains("watch=true") {
            let (name, version) = LISTS[lists.fetch_add(1, Ordering::SeqCst).min(1)];
            ("200 OK", list(name, version))
        } else if line.contains("resourceVersion=20") {
            std::future::pending().await
        } else {
            match says {
                Says::Gone => ("410 Gone", expired),
                Says::Expired => ("200 OK", json!({"type": "ERROR", "object": expired})),
            }
        };
        let head = "content-type: application/json\r\nconnection: close";
        let answer = format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn list(name: &str, version: &str) -> Value {
        json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": {"resourceVersion": version},
            "items": [{"metadata": {"name": name, "namespace": "shop", "resourceVersion": version}}]})
    }

    async fn serve(listener: TcpListener, says: Says) {
        let (mut open, lists) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            open.spawn(answer(stream, Arc::clone(&lists), says));
        }
    }

    async fn next(changes: &mut mpsc::Receiver<Change>) -> String {
        match changes.recv().await.expect("the kind goes on being watched") {
            Change::Begin(_) => "begin".to_owned(),
            Change::Exists(observed) => observed.object.name().to_owned(),
            Change::End { .. } => "end".to_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// Guarantee: a watch whose history the API server has dropped lists its kind again, as a whole,
    /// so that what went in between is seen to be gone; the kind is said to be broken until then.
    #[tokio::test]
    async fn an_expired_watch_lists_again() {
        provost_runtime::tls::install_crypto_provider();
        for says in [Says::Gone, Says::Expired] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client =
                Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap()));
            let gvk = kube::core::GroupVersionKind::gvk("", "v1", "Service");
            let services = ApiResource::from_gvk_with_plural(&gvk, "services");
            let (changes, mut changed) = mpsc::channel(8);
            let (states, mut said) = mpsc::channel(8);
            let mut tasks = JoinSet::new();
            tasks.spawn(serve(listener, says));
            tasks.spawn(run(client.unwrap(), services, changes, states));
            let story = async {
                for expected in ["begin", "first", "end", "begin", "second", "end"] {
                    assert_eq!(next(&mut changed).await, expected, "{says:?}");
                }
                assert!(matches!(said.recv().await, Some(KindState::Listed(_))));
                assert!(matches!(said.recv().await, Some(KindState::Broken(_))), "{says:?}");
                assert!(matches!(said.recv().await, Some(KindState::Listed(_))));
            };
            tokio::time::timeout(Duration::from_secs(60), story).await.expect("within its time");
        }
    }
}
