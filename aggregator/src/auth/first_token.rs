//! The first API token: made when the hub has none, written to a file that only its user reads.
//!
//! Only the file's path is ever logged. A hub that lost the file gets a new one when every admin
//! token has expired or been revoked.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::role::Role;
use super::secret::{Kind, NoRandomness, Secret};
use crate::store::access::NewApiToken;
use crate::store::{self, Access, Actor};

/// Long enough to set the hub up and make tokens with names of people.
pub const FIRST_TOKEN_MS: i64 = 30 * 24 * 60 * 60 * 1000;
pub const FILE_NAME: &str = "admin.token";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
}

/// Makes sure that somebody can get in. The path of the file, if one was written.
pub async fn ensure(
    store: &(impl Access + ?Sized),
    folder: &Path,
    now_ms: i64,
) -> Result<Option<PathBuf>, Error> {
    let tokens = store.api_tokens().await?;
    let admin = Role::Admin.as_str();
    let live = |row: &store::access::ApiTokenRow| {
        row.role == admin && row.revoked_at_ms.is_none() && row.expires_at_ms > now_ms
    };
    if tokens.iter().any(live) {
        return Ok(None);
    }
    let path = folder.join(FILE_NAME);
    let secret = Secret::generate(Kind::ApiToken)?;
    // The file first: a token in the store that nobody has would close the hub for a month.
    write_private(&path, secret.reveal())
        .map_err(|source| Error::Write { path: path.clone(), source })?;
    let token = NewApiToken {
        token: secret.hash(),
        name: free_name(&tokens),
        role: admin.to_owned(),
        expires_at_ms: now_ms + FIRST_TOKEN_MS,
    };
    store.create_api_token(&token, &Actor::hub(), now_ms).await?;
    Ok(Some(path))
}

/// Names of expired tokens are still taken.
fn free_name(tokens: &[store::access::ApiTokenRow]) -> String {
    let taken = |name: &str| tokens.iter().any(|t| t.name == name && t.revoked_at_ms.is_none());
    let mut name = "first-admin".to_owned();
    let mut number = 1_u32;
    while taken(&name) {
        number += 1;
        name = format!("first-admin-{number}");
    }
    name
}

/// Whole or not at all: a file beside it is renamed over what was there.
fn write_private(path: &Path, secret: &str) -> io::Result<()> {
    let beside = path.with_extension("token.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_file_is_its_users_alone_even_where_one_was_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, "secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret\n");
    }
}
