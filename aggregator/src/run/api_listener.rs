//! The web listener: plain on loopback, with TLS everywhere else.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use provost_runtime::config::{Error, rule};
use provost_runtime::errors::chain;
use provost_runtime::metrics::Registry;
use provost_runtime::pki::{TlsKey, certificates_from_pem};
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::tls::{self, CertificateSlot, Clients};
use provost_runtime::web::{Limits, serve, serve_plain};
use tokio::net::TcpListener;

use crate::api::observed;
use crate::auth::cookie::Transport;
use crate::config::ApiListener;
use crate::hub::Hub;
use crate::operate::Operations;
use crate::{api, web};

pub fn serve_api(
    hub: &Arc<Hub>,
    slot: Option<CertificateSlot>,
    listener: TcpListener,
    registry: &Registry,
    tasks: &Tasks,
) -> Result<()> {
    let transport = Transport::with(slot.as_ref());
    web::check_listener(listener.local_addr()?, transport)?;
    let operations = Arc::new(Operations(Arc::clone(hub)));
    let state = api::hub::Hub {
        store: Arc::clone(&hub.store),
        clock: Arc::clone(&hub.clock),
        liveness: operations.clone(),
        operate: operations,
        transport,
    };
    let (router, _) = web::router(state);
    let router = observed::over(router, registry, Arc::clone(&hub.clock));
    let shutdown = tasks.shutdown().clone();
    match slot {
        None => tasks.spawn("api", OnEnd::ShutDown, serve_plain(listener, router, shutdown)),
        Some(slot) => {
            let config = tls::server_config(
                &slot,
                Clients::Anonymous,
                Arc::clone(&hub.clock),
                tls::ALPN_WEB,
            )?;
            let incoming =
                tls::listen("api listener", listener, config, tls::Limits::default(), tasks)?;
            let serving = serve(incoming, router, Limits::default(), shutdown);
            tasks.spawn("api", OnEnd::ShutDown, serving);
        }
    }
    Ok(())
}

impl ApiListener {
    /// The certificate to serve with; none is plain HTTP, for loopback alone.
    pub fn certificate(&self) -> Result<Option<CertificateSlot>, Error> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let of_chain =
            |error: &dyn std::error::Error| unusable("api.tls_certificate", certificate, error);
        let of_key = |error: &dyn std::error::Error| unusable("api.tls_key", key, error);
        let chain = std::fs::read_to_string(certificate).map_err(|error| of_chain(&error))?;
        let pem = std::fs::read_to_string(key).map_err(|error| of_key(&error))?;
        let pem = zeroize::Zeroizing::new(pem);
        let private = TlsKey::from_pem(&pem).map_err(|error| of_key(&error))?;
        let chain = certificates_from_pem(&chain).map_err(|error| of_chain(&error))?;
        CertificateSlot::new(chain, &private).map(Some).map_err(|error| of_key(&error))
    }
}

fn unusable(key: &str, path: &Path, error: &dyn std::error::Error) -> Error {
    rule(key, format!("cannot use {}: {}", path.display(), chain(error)))
}

impl Transport {
    const fn with(certificate: Option<&CertificateSlot>) -> Self {
        if certificate.is_some() { Self::Tls } else { Self::Plain }
    }
}
