//! An API server from the binaries that envtest uses: `etcd` and `kube-apiserver` in one folder.
//!
//! Both listen on loopback on free ports and keep everything in the folder of the test: started
//! again there, the API server has the same objects at the same address. Its certificate is the one
//! that it makes for itself. Neither outlives the test.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provost_runtime::pki::TlsKey;
use tokio::runtime::Builder;

const POLL: Duration = Duration::from_millis(100);
/// For each of: the certificate is there, the API server is ready.
const POLLS: u32 = 900;

/// Ends its program when its standard input closes, whoever closed it: a test that dies leaves
/// nothing behind.
const WATCHED: &str = r#"exec 3<&0
"$@" </dev/null 3<&- & child=$!
(read -r line <&3; kill -9 $child 2>/dev/null) &
reader=$!
wait $child; code=$?
kill $reader 2>/dev/null
exit $code"#;

pub(super) struct Assets {
    pub bin: PathBuf,
    ports: Ports,
    token: String,
}

/// API server, etcd, etcd's peers.
#[derive(Clone, Copy)]
struct Ports([u16; 3]);

/// Ended in this order.
pub(super) struct Running {
    apiserver: Child,
    etcd: Child,
}

impl Assets {
    pub fn prepare(bin: &Path, folder: &Path) -> anyhow::Result<Self> {
        for program in ["etcd", "kube-apiserver"] {
            if !bin.join(program).is_file() {
                bail!("KUBEBUILDER_ASSETS: there is no {program} in {}", bin.display());
            }
        }
        // All three are held at once, so that they differ.
        let free = || TcpListener::bind(("127.0.0.1", 0)).context("a free port");
        let held = [free()?, free()?, free()?];
        let mut ports = [0; 3];
        for (port, listener) in ports.iter_mut().zip(&held) {
            *port = listener.local_addr()?.port();
        }
        let key = TlsKey::generate().context("a key for service accounts")?;
        fs::write(folder.join("service-account.key"), key.to_pem().as_bytes())?;
        fs::write(folder.join("service-account.pub"), public_pem(&key)?)?;
        let token = format!("{:032x}", rand::random::<u128>());
        fs::write(folder.join("tokens.csv"), format!("{token},admin,admin,system:masters\n"))?;
        Ok(Self { bin: bin.to_owned(), ports: Ports(ports), token })
    }

    /// Returns once the API server is ready and the folder holds its kubeconfig.
    pub fn start(&self, folder: &Path) -> anyhow::Result<Running> {
        let etcd = watched(&self.bin.join("etcd"), &self.etcd_arguments(folder), folder)?;
        let apiserver = self.apiserver_arguments(folder);
        let apiserver = watched(&self.bin.join("kube-apiserver"), &apiserver, folder);
        let mut running = match apiserver {
            Ok(apiserver) => Running { apiserver, etcd },
            Err(error) => {
                end(etcd);
                return Err(error);
            }
        };
        if let Err(error) = self.until_ready(folder, &mut running) {
            running.stop();
            let tail = |name| {
                let log = fs::read_to_string(folder.join(name)).unwrap_or_default();
                log.lines().rev().take(3).collect::<Vec<_>>().join(" | ")
            };
            let (apiserver, etcd) = (tail("kube-apiserver.log"), tail("etcd.log"));
            return Err(error.context(format!("kube-apiserver: {apiserver}\netcd: {etcd}")));
        }
        Ok(running)
    }

    fn etcd_arguments(&self, folder: &Path) -> Vec<String> {
        let Ports([_, client, peer]) = self.ports;
        let (client, peer) =
            (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        vec![
            format!("--data-dir={}", folder.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".to_owned(),
        ]
    }

    /// As `testkit/controlplane` does it, and for its reasons.
    fn apiserver_arguments(&self, folder: &Path) -> Vec<String> {
        let Ports([port, etcd, _]) = self.ports;
        let file = |name: &str| folder.join(name).display().to_string();
        vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--cert-dir={}", file("certs")),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--service-account-key-file={}", file("service-account.pub")),
            format!("--service-account-signing-key-file={}", file("service-account.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--anonymous-auth=false".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--profiling=false".to_owned(),
        ]
    }

    /// Callers stand in a runtime or in none: the waiting is done on a thread with its own.
    fn until_ready(&self, folder: &Path, running: &mut Running) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let runtime = Builder::new_current_thread().enable_all().build();
                runtime.context("a runtime")?.block_on(self.poll(folder, running))
            });
            waiting.join().map_err(|_| anyhow!("waiting for the API server panicked"))?
        })
    }

    async fn poll(&self, folder: &Path, running: &mut Running) -> anyhow::Result<()> {
        provost_runtime::tls::install_crypto_provider();
        for _ in 0..POLLS {
            for (name, child) in
                [("etcd", &mut running.etcd), ("kube-apiserver", &mut running.apiserver)]
            {
                if let Some(status) = child.try_wait()? {
                    bail!("{name} ended: {status}");
                }
            }
            if self.ready(folder).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("the API server was not ready within {} s", (POLL * POLLS).as_secs())
    }

    async fn ready(&self, folder: &Path) -> anyhow::Result<()> {
        let certificate = fs::read(folder.join("certs/apiserver.crt"))?;
        fs::write(folder.join("kubeconfig"), self.kubeconfig(&certificate))?;
        let client = super::client_of(&folder.join("kubeconfig")).await?;
        // It answers 200 or an error; readiness includes that the first roles are there.
        client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
        Ok(())
    }

    fn kubeconfig(&self, certificate: &[u8]) -> String {
        let (Ports([port, ..]), token, ca) =
            (self.ports, &self.token, STANDARD.encode(certificate));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters:\n- name: test\n  cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority-data: {ca}}}\n\
             users:\n- name: admin\n  user: {{token: {token}}}\n\
             contexts:\n- name: test\n  context: {{cluster: test, user: admin}}\n"
        )
    }
}

impl Running {
    pub fn stop(self) {
        end(self.apiserver);
        end(self.etcd);
    }
}

/// The API server reads a private key of this form for signing, and wants the public one beside it
/// for checking: SubjectPublicKeyInfo of P-256 is its head and the point, which ends the private form.
fn public_pem(key: &TlsKey) -> anyhow::Result<String> {
    const HEAD: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let point = key.pkcs8_der().last_chunk::<65>().context("a point")?;
    let text = STANDARD.encode([HEAD.as_slice(), point].concat());
    Ok(format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))
}

fn watched(program: &Path, arguments: &[String], folder: &Path) -> anyhow::Result<Child> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(format!("{name}.log")))
        .context("a log")?;
    Command::new("sh")
        .args(["-c", WATCHED, "sh"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

/// As a crash would; returns when it is gone.
fn end(mut child: Child) {
    drop(child.stdin.take());
    let _ = child.wait();
}
