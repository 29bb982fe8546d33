//! How large a message may be, method by method.
//!
//! Anybody can call Enrol and Reenter: what they send is refused by the size that it declares, before a byte of it is
//! read. tonic has one limit for a whole service, so that there are two of it, and the path says which.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{Request, Response};
use provost_model::limits::{MAX_ENROL_MESSAGE_BYTES, MAX_MESSAGE_ON_WIRE_BYTES};
use provost_proto::v1::fleet_server::FleetServer;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tower::Service;

use super::service::FleetService;

/// The methods that need no certificate.
const OPEN: [&str; 2] = ["/provost.v1.Fleet/Enrol", "/provost.v1.Fleet/Reenter"];

#[derive(Clone, Debug)]
pub struct ByMethod {
    open: FleetServer<FleetService>,
    known: FleetServer<FleetService>,
}

impl ByMethod {
    pub fn new(service: FleetService) -> Self {
        let limited = |service, bytes| FleetServer::new(service).max_decoding_message_size(bytes);
        Self {
            open: limited(service.clone(), MAX_ENROL_MESSAGE_BYTES),
            known: limited(service, MAX_MESSAGE_ON_WIRE_BYTES),
        }
    }
}

impl NamedService for ByMethod {
    const NAME: &'static str = <FleetServer<FleetService> as NamedService>::NAME;
}

impl Service<Request<Body>> for ByMethod {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let open = OPEN.contains(&request.uri().path());
        if open { self.open.call(request) } else { self.known.call(request) }
    }
}
