//! The hub's listening sockets, bound before anything is served.

use std::net::SocketAddr;

use provost_runtime::admin;
use provost_runtime::config::{Error, rule};
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
    /// An error names the setting.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        let Config { agents, api, admin, .. } = config;
        let at = |key: &'static str, address: SocketAddr| {
            move |error: std::io::Error| rule(key, format!("cannot listen on {address}: {error}"))
        };
        let bind = TcpListener::bind;
        Ok(Self {
            agents: bind(agents.listen).await.map_err(at("agents.listen", agents.listen))?,
            api: bind(api.listen).await.map_err(at("api.listen", api.listen))?,
            admin: admin::bind(admin.listen).await.map_err(at("admin.listen", admin.listen))?,
        })
    }

    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            agents: self.agents.local_addr()?,
            api: self.api.local_addr()?,
            admin: self.admin.local_addr()?,
        })
    }
}
