//! The hub's REST API as a client sees it: a token, pages, rows.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Small, so that lists come in several pages.
const PAGE_ROWS: usize = 100;

pub(crate) struct Api {
    address: SocketAddr,
    token: String,
}

impl Api {
    /// With the token that the hub wrote at its first start.
    pub fn of(address: SocketAddr, hub_folder: &Path) -> Self {
        let token = std::fs::read_to_string(hub_folder.join("admin.token")).expect("a token");
        Self { address, token: token.trim().to_owned() }
    }

    /// All rows of a list, page by page, as many as it says that there are. None where it changed
    /// between two pages.
    pub async fn rows(&self, list: &str) -> Option<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/api/v1/{list}?limit={PAGE_ROWS}{cursor}")).await;
            let items = page["items"].as_array().expect("items");
            assert!(items.len() <= PAGE_ROWS, "a page has no more rows than were asked for");
            rows.extend(items.iter().cloned());
            let Some(next) = page["next"].as_str() else {
                let total = page["total"].as_u64().and_then(|total| usize::try_from(total).ok());
                return (total == Some(rows.len())).then_some(rows);
            };
            assert_eq!(items.len(), PAGE_ROWS, "only the last page may be short");
            cursor = format!("&cursor={next}");
        }
    }

    /// A list that has no pages.
    pub async fn list(&self, list: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/{list}")).await;
        answer["items"].as_array().expect("items").clone()
    }

    async fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).await.expect("the hub listens");
        let Self { address, token } = self;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Accept: application/json\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        serde_json::from_str(body).expect("JSON")
    }
}
