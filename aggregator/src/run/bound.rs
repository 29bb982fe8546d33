//! The hub's listening sockets, bound before anything is served.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use provost_runtime::admin;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::config::Config;

/// Bound addresses, as `addresses.json` in the data folder says them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    pub agents: SocketAddr,
    pub api: SocketAddr,
    pub admin: SocketAddr,
}

pub struct Listeners {
    pub agents: TcpListener,
    pub api: TcpListener,
    pub admin: TcpListener,
}

impl Listeners {
    pub async fn bind(config: &Config) -> Result<Self> {
        let at = |what: &str, address: SocketAddr| format!("cannot listen on {address} ({what})");
        let Config { agents, api, admin, .. } = config;
        Ok(Self {
            agents: TcpListener::bind(agents.listen)
                .await
                .with_context(|| at("agents", agents.listen))?,
            api: TcpListener::bind(api.listen).await.with_context(|| at("api", api.listen))?,
            admin: admin::bind(admin.listen).await.with_context(|| at("admin", admin.listen))?,
        })
    }

    pub fn addresses(&self) -> Result<Addresses> {
        Ok(Addresses {
            agents: self.agents.local_addr()?,
            api: self.api.local_addr()?,
            admin: self.admin.local_addr()?,
        })
    }
}
