//! An OTLP receiver: the three services of the published protos, which keep what they get.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use provost_runtime::clock::{Clock as _, System};
use provost_runtime::pki::{self, Ca, TlsKey, Usage, Validity};
use tokio::runtime::Runtime;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// What arrived, each with the service that sent it.
#[derive(Default)]
pub struct Arrived {
    pub spans: Vec<(String, Span)>,
    pub logs: Vec<(String, LogRecord)>,
    pub metrics: Vec<(String, Metric)>,
    pub resources: Vec<Resource>,
    /// Values of the header `authorization`.
    pub authorization: Vec<String>,
}

#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Arrived>>);

pub struct Receiver {
    pub address: SocketAddr,
    arrived: Keep,
    // Ends the server when dropped.
    _runtime: Runtime,
}

impl Receiver {
    pub fn start() -> Self {
        Self::serve(tonic::transport::Server::builder())
    }

    /// Behind TLS, with a certificate for loopback; also the PEM of the CA that issued it.
    pub fn start_tls() -> (Self, String) {
        provost_runtime::tls::install_crypto_provider();
        let now_s = i64::try_from(System::new().wall_secs()).unwrap();
        let ca = Ca::create(&"receiver.test".parse().unwrap(), now_s).unwrap();
        let key = TlsKey::generate().unwrap();
        let addresses = vec![std::net::Ipv4Addr::LOCALHOST.into()];
        let usage = Usage::Web { dns: Vec::new(), addresses };
        let issued = ca.issue_own(&key, &usage, Validity::from_now(now_s, 3600)).unwrap();
        let chain = pki::certificates_to_pem(&[issued.certificate]);
        let identity = Identity::from_pem(chain, key.to_pem().as_bytes());
        let server = tonic::transport::Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap();
        (Self::serve(server), pki::certificates_to_pem(std::slice::from_ref(ca.certificate())))
    }

    fn serve(mut server: tonic::transport::Server) -> Self {
        let runtime = Runtime::new().unwrap();
        let arrived = Keep::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = server
            .add_service(TraceServiceServer::new(arrived.clone()))
            .add_service(MetricsServiceServer::new(arrived.clone()))
            .add_service(LogsServiceServer::new(arrived.clone()))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        runtime.spawn(async move { serving.await.unwrap() });
        Self { address, arrived, _runtime: runtime }
    }

    /// Looks at what arrived so far.
    pub fn look<T>(&self, look: impl FnOnce(&Arrived) -> T) -> T {
        look(&self.arrived.0.lock().unwrap())
    }
}

impl Keep {
    fn from<T>(&self, request: &Request<T>, resource: Option<&Resource>) -> String {
        let mut arrived = self.0.lock().unwrap();
        if let Some(value) = request.metadata().get("authorization") {
            arrived.authorization.push(value.to_str().unwrap().to_owned());
        }
        let resource = resource.expect("an export names its resource").clone();
        let service = text(&resource.attributes, "service.name").to_owned();
        arrived.resources.push(resource);
        service
    }
}

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resource = request.get_ref().resource_spans.first().and_then(|r| r.resource.as_ref());
        let service = self.from(&request, resource);
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|r| r.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans).map(|span| (service.clone(), span));
        self.0.lock().unwrap().spans.extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Keep {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resource = request.get_ref().resource_metrics.first().and_then(|r| r.resource.as_ref());
        let service = self.from(&request, resource);
        let scopes =
            request.into_inner().resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
        let metrics = scopes.flat_map(|scope| scope.metrics).map(|one| (service.clone(), one));
        self.0.lock().unwrap().metrics.extend(metrics);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Keep {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resource = request.get_ref().resource_logs.first().and_then(|r| r.resource.as_ref());
        let service = self.from(&request, resource);
        let scopes = request.into_inner().resource_logs.into_iter().flat_map(|r| r.scope_logs);
        let logs = scopes.flat_map(|scope| scope.log_records).map(|log| (service.clone(), log));
        self.0.lock().unwrap().logs.extend(logs);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// An attribute that is text; empty where there is none.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    found.map_or("", |attribute| said(attribute.value.as_ref()))
}

/// A value that is text.
pub fn said(value: Option<&AnyValue>) -> &str {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}
