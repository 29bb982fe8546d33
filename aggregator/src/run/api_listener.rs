//! The web listener: plain on loopback, with TLS everywhere else.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use provost_runtime::admin;
use provost_runtime::metrics::Registry;
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::tls::{self, CertificateSlot, Clients};
use tokio::net::TcpListener;

use crate::api::observed;
use crate::auth::cookie::Transport;
use crate::config::ApiListener;
use crate::hub::Hub;
use crate::operate::Operations;
use crate::{api, web};

pub fn serve_api(
    hub: &Arc<Hub>,
    config: &ApiListener,
    listener: TcpListener,
    registry: &Registry,
    tasks: &Tasks,
) -> Result<()> {
    let slot = config.certificate()?;
    let transport = if slot.is_some() { Transport::Tls } else { Transport::Plain };
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
        None => tasks.spawn("api", OnEnd::ShutDown, admin::serve(listener, router, shutdown)),
        Some(slot) => {
            let config = tls::server_config(
                &slot,
                Clients::Anonymous,
                Arc::clone(&hub.clock),
                tls::ALPN_WEB,
            )?;
            let incoming =
                tls::listen("api listener", listener, config, tls::Limits::default(), tasks)?;
            tasks.spawn("api", OnEnd::ShutDown, admin::serve_tls(incoming, router, shutdown));
        }
    }
    Ok(())
}

impl ApiListener {
    /// The certificate to serve with; none is plain HTTP, for loopback alone.
    fn certificate(&self) -> Result<Option<CertificateSlot>> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let chain = std::fs::read_to_string(certificate)
            .with_context(|| certificate.display().to_string())?;
        let key =
            std::fs::read_to_string(key).map(zeroize::Zeroizing::new).context("api.tls_key")?;
        let key = provost_runtime::pki::TlsKey::from_pem(&key).context("api.tls_key")?;
        let chain =
            provost_runtime::pki::certificates_from_pem(&chain).context("api.tls_certificate")?;
        Ok(Some(CertificateSlot::new(chain, &key)?))
    }
}
