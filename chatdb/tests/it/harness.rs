//! A `chatdb` process to talk to, and databases in this process, both over a temporary directory.

use chatdb::{ConnectOptions, Db, EmbeddedOptions, Server};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program under test.
pub(crate) fn chatdb() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatdb"));
    command
        .env_remove("CHATDB_AT")
        .env_remove("CHATDB_DATA")
        .env("NO_COLOR", "1");
    command.env("CHATDB_LOG", "warn");
    command
}

/// What a program printed, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    chatdb()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// All that was written to a file.
fn read_again(mut file: File) -> String {
    file.seek(SeekFrom::Start(0)).expect("a file has a start");
    std::io::read_to_string(file).expect("a file can be read")
}

/// A serving process.
pub(crate) struct Serving {
    child: Child,
    /// What it says, in a file: a process whose pipe nobody reads stops at its next word.
    said: File,
    pub(crate) address: String,
}

impl Serving {
    /// Starts `chatdb serve` over the directory and waits until it is ready.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &["--grpc", "127.0.0.1:0"])
    }

    /// The same with these options.
    pub(crate) fn start_with(data: &Path, options: &[&str]) -> Self {
        Self::spawn(chatdb(), data, options)
    }

    /// The same of another program.
    pub(crate) fn start_program(program: &Path, data: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.env("NO_COLOR", "1").env("CHATDB_LOG", "warn");
        Self::spawn(command, data, options)
    }

    fn spawn(mut program: Command, data: &Path, options: &[&str]) -> Self {
        let said = tempfile::tempfile().expect("a file");
        let mut child = program
            .args(["serve", "--data"])
            .arg(data)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(said.try_clone().expect("the file once more"))
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("stdout can be read");
        let Some(rest) = line
            .strip_prefix("chatdb is ready: http")
            .map(|rest| rest.trim_start_matches('s').trim_start_matches("://"))
        else {
            child.wait().expect("the process ends");
            panic!("not ready: {line:?}, {}", read_again(said));
        };
        let address = rest
            .split_whitespace()
            .next()
            .expect("an address")
            .to_owned();
        child.stdout = Some(lines.into_inner());
        Self {
            child,
            said,
            address,
        }
    }

    /// A client that soon gives up: a process that was killed does not come back at its address.
    pub(crate) async fn connect(&self) -> Db {
        let mut options = ConnectOptions::parse(&self.address);
        options.deadline = Duration::from_secs(2);
        Db::connect_with(&options).await.expect("the node answers")
    }

    /// Ends the process as a power cut would end it.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
    }

    /// Sends the process a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end of the process, but not longer; tells its exit code and what it said.
    pub(crate) async fn wait_ended(&mut self, limit: Duration) -> (Option<i32>, String) {
        let begun = Instant::now();
        let ended = loop {
            if let Some(ended) = self.child.try_wait().expect("the process is ours") {
                break ended;
            }
            assert!(begun.elapsed() < limit, "runs on after {limit:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let said = self.said.try_clone().expect("the file once more");
        (ended.code(), read_again(said))
    }

    /// Asks the process to stop; tells its exit code and what it printed after it was ready.
    pub(crate) fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let mut printed = String::new();
        let mut stdout = self.child.stdout.take().expect("stdout is piped");
        stdout
            .read_to_string(&mut printed)
            .expect("stdout can be read");
        (self.child.wait().expect("the process ends").code(), printed)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Already ended is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A database in this process, and the same one through gRPC.
pub(crate) struct Both {
    _dir: TempDir,
    pub(crate) embedded: Db,
    server: Server,
    pub(crate) remote: Db,
}

impl Both {
    pub(crate) async fn open() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let embedded = open(dir.path()).await;
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let server = embedded.serve(any).await.expect("the server starts");
        let remote = Db::connect(&server.address().to_string())
            .await
            .expect("it answers");
        Self {
            _dir: dir,
            embedded,
            server,
            remote,
        }
    }

    pub(crate) async fn close(self) {
        self.server.stop().await.expect("the server stops");
        self.embedded.close().await.expect("the database closes");
    }
}

/// Opens a small database in this process.
pub(crate) async fn open(data: &Path) -> Db {
    Db::open(EmbeddedOptions::new(data))
        .await
        .expect("the database opens")
}

/// A TCP relay to one address, whose faults a test switches on.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    fault: tokio::sync::watch::Sender<Fault>,
}

/// What a relay does to its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Passes requests on, and ends the connection as soon as something comes back.
    CutBack,
    /// Passes nothing on, in either direction.
    Stalled,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, faults) = tokio::sync::watch::channel(Fault::None);
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                let Ok(server) = tokio::net::TcpStream::connect(target).await else {
                    continue;
                };
                let faults = faults.clone();
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let there = relay(from_client, to_server, faults.clone(), false);
                    let back = relay(from_server, to_client, faults, true);
                    tokio::select! {
                        () = there => {}
                        () = back => {}
                    }
                });
            }
        });
        Self { address, fault }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn relay(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut faults: tokio::sync::watch::Receiver<Fault>,
    is_back: bool,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let passes = |fault: &Fault| match fault {
            Fault::None => true,
            Fault::CutBack => !is_back,
            Fault::Stalled => false,
        };
        let fault = *faults.borrow();
        let is_cut = !passes(&fault) && fault == Fault::CutBack;
        if is_cut || faults.wait_for(passes).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
