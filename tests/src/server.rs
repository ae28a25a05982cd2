//! Servers that stores of message ids live on: Redis, PostgreSQL and MariaDB, each on a free port,
//! with a password and a folder of its own.

mod tls;

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::strait::free_address;
use crate::verifier::Verifier;
use crate::wait;
use tls::Tls;

const START_LIMIT: Duration = Duration::from_secs(30);
/// Needs no escape in an address.
pub const PASSWORD: &str = "correct-horse";
const DATABASE: &str = "claims";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Postgres,
    MariaDb,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Redis, Self::Postgres, Self::MariaDb];

    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }
}

/// A running server. Dropping it kills it.
pub struct Server {
    kind: Kind,
    folder: TempDir,
    /// `None`: it speaks in the clear.
    tls: Option<Tls>,
    port: u16,
    child: Option<Child>,
    guard: Arc<Verifier>,
}

impl Server {
    /// `guard` kills it if nobody else does.
    pub fn start(kind: Kind, guard: &Arc<Verifier>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strait-test-").tempdir()?;
        Self::start_in(folder, None, kind, guard)
    }

    /// The same with a certificate by an authority of its own, whom clients have to trust.
    pub fn start_with_tls(kind: Kind, guard: &Arc<Verifier>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strait-test-").tempdir()?;
        let tls = Tls::new(folder.path())?;
        Self::start_in(folder, Some(tls), kind, guard)
    }

    fn start_in(folder: TempDir, tls: Option<Tls>, kind: Kind, guard: &Arc<Verifier>) -> Result<Self> {
        let mut server = Self {
            kind,
            folder,
            tls,
            port: free_address()?.port(),
            child: None,
            guard: Arc::clone(guard),
        };
        server.make_data()?;
        server.start_again()?;
        server.make_database()?;
        Ok(server)
    }

    /// Where it is, the password included.
    pub fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    pub fn url_with(&self, password: &str) -> String {
        let port = self.port;
        let (scheme, path) = match (self.kind, self.tls.is_some()) {
            (Kind::Redis, false) => ("redis://", String::new()),
            (Kind::Redis, true) => ("rediss://", String::new()),
            (Kind::Postgres, false) => ("postgres://strait", format!("/{DATABASE}")),
            (Kind::Postgres, true) => ("postgres://strait", format!("/{DATABASE}?sslmode=verify-full")),
            (Kind::MariaDb, false) => ("mariadb://strait", format!("/{DATABASE}")),
            (Kind::MariaDb, true) => (
                "mariadb://strait",
                format!("/{DATABASE}?ssl-mode=VERIFY_IDENTITY"),
            ),
        };
        format!("{scheme}:{password}@127.0.0.1:{port}{path}")
    }

    /// The certificate of the authority that vouches for it, if it speaks TLS.
    pub fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.authority.as_path())
    }

    /// As `dedup.store` in a pipeline's file.
    pub fn store(&self, url: &str) -> serde_json::Value {
        match self.kind {
            Kind::Redis => serde_json::json!({ "redis": { "url": url, "prefix": "strait:" } }),
            Kind::Postgres | Kind::MariaDb => serde_json::json!({ "sql": { "url": url } }),
        }
    }

    /// SIGKILL. What it wrote stays.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill()?;
        child.wait()?;
        self.guard.unguard(child.id())
    }

    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("a running server")?;
        // PostgreSQL answers in processes of their own.
        let pid = child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children: Vec<i32> = children
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        kill_process(Pid::from_child(child), signal)?;
        for child in children.into_iter().filter_map(Pid::from_raw) {
            kill_process(child, signal)?;
        }
        Ok(())
    }

    /// On the same port, with the same data.
    pub fn start_again(&mut self) -> Result<()> {
        let log = File::create(self.path("log"))?;
        let mut command = self.command()?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        self.guard.guard(child.id())?;
        self.child = Some(child);
        wait::until_true("a server that takes connections", START_LIMIT, || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                let log = fs::read_to_string(self.folder.path().join("log"))?;
                bail!("it ended with {status}: {log}");
            }
            Ok(TcpStream::connect(("127.0.0.1", self.port)).is_ok())
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_data(&self) -> Result<()> {
        let data = self.path("data");
        match self.kind {
            Kind::Redis => fs::create_dir(&data)?,
            Kind::Postgres => {
                let password = self.path("password");
                fs::write(&password, PASSWORD)?;
                open_to_postgres(self.folder.path())?;
                let mut init = postgres("initdb")?;
                init.args(["--auth=scram-sha-256", "--username=strait", "--no-sync"])
                    .arg(format!("--pwfile={}", password.display()))
                    .arg(format!("--pgdata={}", data.display()));
                run(&mut init)?;
            }
            Kind::MariaDb => {
                let mut init = Command::new("mariadb-install-db");
                init.args(["--no-defaults", "--auth-root-authentication-method=normal"])
                    .args(["--skip-test-db", "--user=root"])
                    .arg(format!("--datadir={}", data.display()));
                run(&mut init)?;
            }
        }
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let (data, port) = (self.path("data"), self.port);
        Ok(match self.kind {
            Kind::Redis => {
                let mut command = Command::new("redis-server");
                command
                    .args(["--bind", "127.0.0.1", "--requirepass", PASSWORD])
                    .args(["--appendonly", "yes", "--appendfsync", "always"])
                    .arg("--dir")
                    .arg(data);
                if let Some(tls) = &self.tls {
                    command
                        .args(["--port", "0", "--tls-auth-clients", "no", "--tls-port"])
                        .arg(port.to_string())
                        .arg("--tls-cert-file")
                        .arg(&tls.certificate)
                        .arg("--tls-key-file")
                        .arg(&tls.key)
                        .arg("--tls-ca-cert-file")
                        .arg(&tls.authority);
                } else {
                    command.args(["--port", &port.to_string()]);
                }
                command
            }
            Kind::Postgres => {
                let mut command = postgres("postgres")?;
                command
                    .arg("-D")
                    .arg(data)
                    .args(["-p", &port.to_string(), "-h", "127.0.0.1"])
                    .arg("-k")
                    .arg(self.folder.path())
                    // It need not outlive the machine.
                    .args(["-c", "fsync=off"]);
                if let Some(tls) = &self.tls {
                    command
                        .args(["-c", "ssl=on", "-c"])
                        .arg(format!("ssl_cert_file={}", tls.certificate.display()))
                        .arg("-c")
                        .arg(format!("ssl_key_file={}", tls.key.display()));
                }
                command
            }
            Kind::MariaDb => {
                let mut command = Command::new(mariadbd());
                command
                    .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
                    .arg(format!("--port={port}"))
                    .arg(format!("--datadir={}", data.display()))
                    .arg(format!("--socket={}", self.path("socket").display()))
                    .arg(format!("--pid-file={}", self.path("pid").display()));
                if let Some(tls) = &self.tls {
                    command
                        .arg("--require-secure-transport=ON")
                        .arg(format!("--ssl-ca={}", tls.authority.display()))
                        .arg(format!("--ssl-cert={}", tls.certificate.display()))
                        .arg(format!("--ssl-key={}", tls.key.display()));
                }
                command
            }
        })
    }

    fn make_database(&self) -> Result<()> {
        match self.kind {
            Kind::Redis => Ok(()),
            Kind::Postgres => {
                let mut ask = self.client("postgres")?;
                until_it_works(ask.arg(format!("CREATE DATABASE {DATABASE}")))
            }
            Kind::MariaDb => {
                let mut ask = self.client("mysql")?;
                until_it_works(ask.arg(format!(
                    "CREATE DATABASE {DATABASE}; CREATE USER strait@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON \
                     {DATABASE}.* TO strait@'%'"
                )))
            }
        }
    }

    /// Everything it holds is gone.
    pub fn empty(&self) -> Result<()> {
        self.ask(match self.kind {
            Kind::Redis => "FLUSHALL",
            Kind::Postgres | Kind::MariaDb => "DELETE FROM strait_claims",
        })
    }

    /// Tells it something in its own language: a command of Redis, or SQL.
    pub fn ask(&self, words: &str) -> Result<()> {
        let mut client = self.client(DATABASE)?;
        match self.kind {
            Kind::Redis => client.args(words.split_whitespace()),
            Kind::Postgres | Kind::MariaDb => client.arg(words),
        };
        run(&mut client)
    }

    /// The server's own client, which takes what is to be done as its last arguments.
    fn client(&self, database: &str) -> Result<Command> {
        let port = self.port.to_string();
        Ok(match self.kind {
            Kind::Redis => {
                let mut client = Command::new("redis-cli");
                // Else it ends well even if the server refuses.
                client.args(["-e", "-p", &port, "--no-auth-warning", "-a", PASSWORD]);
                if let Some(tls) = &self.tls {
                    client.arg("--tls").arg("--cacert").arg(&tls.authority);
                }
                client
            }
            Kind::Postgres => {
                let mut client = postgres("psql")?;
                client
                    .args(["-h", "127.0.0.1", "-p", &port, "-U", "strait", database, "-c"])
                    .env("PGPASSWORD", PASSWORD);
                client
            }
            Kind::MariaDb => {
                let mut client = Command::new("mariadb");
                client
                    .arg("--no-defaults")
                    .arg(format!("--socket={}", self.path("socket").display()))
                    .args(["--user=root", database, "--execute"]);
                client
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed has said so already.
        self.kill().ok();
    }
}

/// A server takes connections before it answers.
fn until_it_works(command: &mut Command) -> Result<()> {
    wait::until("an answer of the server", START_LIMIT, || run(command).map(Some))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{}: {}{}",
        command.get_program().display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A program of PostgreSQL, where Debian hides it. It refuses to be run by root, whose place the user
/// takes that the package made.
fn postgres(program: &str) -> Result<Command> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin").join(program))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    let path = found
        .pop()
        .with_context(|| format!("PostgreSQL's {program} is not installed"))?;
    if !geteuid().is_root() {
        return Ok(Command::new(path));
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(path)
        .current_dir("/");
    Ok(command)
}

fn open_to_postgres(folder: &Path) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    run(Command::new("chown")
        .args(["-R", "postgres:postgres"])
        .arg(folder))
}

fn mariadbd() -> PathBuf {
    let hidden = Path::new("/usr/sbin/mariadbd");
    if hidden.is_file() {
        hidden.to_owned()
    } else {
        PathBuf::from("mariadbd")
    }
}
