//! The gRPC service: limits and identity of each call, then the hub's own functions.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use provost_model::limits::BLOB_CHUNK_BYTES;
use provost_model::{Code, Digest, InstanceId};
use provost_proto::v1::fleet_server::Fleet;
use provost_proto::{envelope, status, v1};
use provost_runtime::tasks::{OnEnd, Tasks};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::identity::{self, Caller};
use super::stream;
use crate::bundles::offer;
use crate::enrol;
use crate::hub::Hub;
use crate::intake::Intake;
use crate::refusal::Refusal;
use crate::store::identity::Cluster;

/// Agents that fetch a blob at the same time; the others wait and ask again.
const MAX_FETCHES: usize = 200;
const FETCH_RETRY: Duration = Duration::from_secs(2);
/// Messages to one agent that may wait for its connection.
const OUTBOUND_QUEUE: usize = 8;

#[derive(Clone, Debug)]
pub struct FleetService {
    hub: Arc<Hub>,
    tasks: Tasks,
    fetches: Arc<Semaphore>,
}

impl FleetService {
    #[must_use]
    pub fn new(hub: Arc<Hub>, tasks: Tasks) -> Self {
        Self { hub, tasks, fetches: Arc::new(Semaphore::new(MAX_FETCHES)) }
    }

    /// Too many known agents at once: the rest come again, each at its own time, and are not called stale for it.
    fn admit_known(&self) -> Result<(), Status> {
        self.admit(&self.hub.known).inspect_err(|_| self.hub.liveness.shed())
    }

    /// Whom nobody knows yet takes no place of those who are known, and keeps nobody fresh.
    fn admit_anonymous(&self) -> Result<(), Status> {
        self.admit(&self.hub.anonymous)
    }

    fn admit(&self, bucket: &Intake) -> Result<(), Status> {
        let Err(after) = bucket.admit(self.hub.clock.monotonic(), rand::random()) else {
            return Ok(());
        };
        self.hub.metrics.shed.increment();
        let busy = status::Refusal::new(Code::Unavailable, "too many agents come at the same time");
        Err(busy.retry_after(after).into())
    }

    /// What travels to the agent.
    fn refuse(&self, refusal: Refusal) -> Status {
        self.hub.metrics.refused(refusal.code);
        to_status(refusal)
    }

    fn envelope(&self, wire: Option<v1::Envelope>) -> Result<provost_trust::Envelope, Status> {
        envelope::from_wire(wire).map_err(|error| self.refuse(error.into()))
    }

    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        identity::caller(&self.hub, request.extensions())
            .await
            .map_err(|refusal| self.refuse(refusal))
    }
}

#[tonic::async_trait]
impl Fleet for FleetService {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::HubMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = self.caller(&request).await?;
        self.admit_known()?;
        let (sender, receiver) = mpsc::channel(OUTBOUND_QUEUE);
        let name = format!("session of {}", caller.speaker.cluster.short());
        let run = stream::run(
            Arc::clone(&self.hub),
            caller,
            request.into_inner(),
            sender,
            self.tasks.shutdown().clone(),
        );
        self.tasks.spawn_infallible(name, OnEnd::Log, run);
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        self.admit_anonymous()?;
        let envelope = self.envelope(request.into_inner().envelope)?;
        let answer =
            enrol::enrol(&self.hub, &envelope).await.map_err(|refusal| self.refuse(refusal))?;
        Ok(Response::new(answer.into()))
    }

    async fn reenter(
        &self,
        request: Request<v1::ReenterRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        self.admit_anonymous()?;
        let envelope = self.envelope(request.into_inner().envelope)?;
        let answer =
            enrol::reenter(&self.hub, &envelope).await.map_err(|refusal| self.refuse(refusal))?;
        Ok(Response::new(answer.into()))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let caller = self.caller(&request).await?;
        let request = request.into_inner();
        let instance = InstanceId::try_from(&request.instance_id[..])
            .map_err(|error| self.refuse(Refusal::new(Code::Invalid, error.to_string())))?;
        if instance != caller.speaker.instance {
            let detail = "the certificate was issued to another instance";
            return Err(self.refuse(Refusal::new(Code::WrongCluster, detail)));
        }
        let certificates = enrol::renew(&self.hub, &caller.cluster, instance, &request.csr)
            .await
            .map_err(|refusal| self.refuse(refusal))?;
        Ok(Response::new(v1::RenewResponse {
            certificates: certificates.into_iter().map(Into::into).collect(),
            hub_time_ms: self.hub.clock.wall_ms(),
        }))
    }

    async fn fetch_blob(
        &self,
        request: Request<v1::FetchBlobRequest>,
    ) -> Result<Response<v1::FetchBlobResponse>, Status> {
        let caller = self.caller(&request).await?;
        let Ok(_permit) = self.fetches.try_acquire() else {
            let busy =
                status::Refusal::new(Code::Unavailable, "too many agents fetch at the same time");
            return Err(busy.retry_after(FETCH_RETRY).into());
        };
        let v1::FetchBlobRequest { digest, offset } = request.into_inner();
        chunk(&self.hub, &caller.cluster, &digest, offset)
            .await
            .map(Response::new)
            .map_err(|refusal| self.refuse(refusal))
    }
}

async fn chunk(
    hub: &Hub,
    cluster: &Cluster,
    digest: &[u8],
    offset: u64,
) -> Result<v1::FetchBlobResponse, Refusal> {
    let digest =
        Digest::try_from(digest).map_err(|error| Refusal::new(Code::Invalid, error.to_string()))?;
    // One answer for what is not there and for what is another cluster's: asking tells nothing.
    let unknown =
        || Refusal::new(Code::NotFound, format!("no bundle for this cluster has blob {digest}"));
    if !offer::may_fetch(hub, cluster, digest).await? {
        return Err(unknown());
    }
    let blob = hub.store.blob(digest).await?.ok_or_else(unknown)?;
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    if start > blob.len() {
        return Err(Refusal::new(Code::Invalid, format!("the blob has {} bytes", blob.len())));
    }
    let end = start.saturating_add(BLOB_CHUNK_BYTES).min(blob.len());
    Ok(v1::FetchBlobResponse { chunk: blob.slice(start..end), total_size: blob.len() as u64 })
}

/// What travels to the agent.
pub fn to_status(refusal: Refusal) -> Status {
    status::Refusal::from(refusal).into()
}
