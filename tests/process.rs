//! The program as a process: started on a free port, stopped at the end, whatever happens.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A running `kandle`.
pub(crate) struct Kandle {
    child: Child,
    /// The configuration that it was started with.
    file: Option<std::path::PathBuf>,
    pub(crate) url: String,
    pub(crate) ws_url: String,
    pub(crate) key: String,
}

impl Kandle {
    /// `kandle demo --json` on a free port.
    pub(crate) fn demo() -> Self {
        Self::demo_in(std::path::Path::new("."))
    }

    /// The same, started in this folder.
    pub(crate) fn demo_in(folder: &std::path::Path) -> Self {
        let mut command = command(&["demo", "--json", "--listen", "127.0.0.1:0"]);
        let mut child = command.current_dir(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let first: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| first[name].as_str().unwrap().to_owned();
        Self { child, file: None, url: text("url"), ws_url: text("ws_url"), key: text("api_key") }
    }

    /// `kandle serve` with a configuration, on a free port that was just seen to be free.
    pub(crate) fn serve(config: &str) -> Self {
        Self::start(config, |file| command(&["serve", "--config", file]))
    }

    /// The same with all that it logs in a file.
    pub(crate) fn serve_logging(config: &str, log: &std::path::Path) -> Self {
        Self::start(config, |file| {
            let mut command = command(&["serve", "--config", file]);
            command.env("RUST_LOG", "debug,hyper=trace,sqlx=trace").stderr(std::fs::File::create(log).unwrap());
            command
        })
    }

    /// The same under a limit of open descriptors.
    pub(crate) fn serve_with_descriptors(config: &str, limit: u32) -> Self {
        Self::start(config, |file| {
            let mut shell = Command::new("sh");
            let line = format!("ulimit -n {limit}; exec {} serve --config {file}", env!("CARGO_BIN_EXE_kandle"));
            shell.args(["-c", &line]);
            quiet(&mut shell);
            shell
        })
    }

    fn start(config: &str, program: impl FnOnce(&str) -> Command) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempdir();
        let file = folder.join("kandle.toml");
        let table = |name: &str, url: String| {
            if config.contains(&format!("[{name}]")) { String::new() } else { format!("[{name}]\nurl = \"{url}\"\n") }
        };
        let store = table("store", format!("redb:{}", folder.join("history.redb").display()));
        let records = table("records", "none".to_owned());
        std::fs::write(&file, format!("listen = \"{address}\"\n{config}\n{store}{records}")).unwrap();
        let child = program(file.to_str().unwrap()).spawn().unwrap();
        let (url, ws_url) = (format!("http://{address}"), format!("ws://{address}/v1/ws"));
        let kandle = Self { child, file: Some(file), url, ws_url, key: "kai-test-key".into() };
        kandle.await_answer();
        kandle
    }

    /// Runs a command of the program with the same configuration, beside the server; gives the lines that it prints as JSON.
    pub(crate) fn beside(&self, arguments: &[&str]) -> Vec<Value> {
        let file = self.file.as_ref().unwrap().to_str().unwrap();
        let output = command(arguments).args(["--json", "--config", file]).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until it answers.
    pub(crate) fn await_answer(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.get("/v1/ping").is_none() {
            assert!(Instant::now() < deadline, "kandle serve does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the process, which has no chance to put anything in order, and starts it again with the same configuration.
    pub(crate) fn kill_and_start(&mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let file = self.file.as_ref().unwrap();
        self.child = command(&["serve", "--config", file.to_str().unwrap()]).spawn().unwrap();
    }

    /// The body of a GET with the key, or `None` if nobody answers.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        self.ask("GET", path, &self.key)
    }

    /// The body of the answer to a request with this key, or `None` if nobody answers.
    pub(crate) fn ask(&self, method: &str, path: &str, key: &str) -> Option<String> {
        use std::io::Write;
        let address = self.url.strip_prefix("http://")?;
        let mut socket = std::net::TcpStream::connect(address).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        // 1.0: a long answer comes in one piece.
        let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n");
        write!(socket, "{head}Connection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).unwrap()).unwrap()
    }

    /// Asks the process to end, as an operator's SIGTERM does, and returns how long it took.
    pub(crate) fn terminate(&mut self) -> Duration {
        let start = Instant::now();
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(15), "still running after SIGTERM");
            std::thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    }

    /// Ends the process as the kernel does when it must: at once, without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Runs a client program with this server's URL and key in its environment, for at most `seconds`.
    pub(crate) fn client(&self, program: &str, arguments: &[&str], seconds: u64) -> (bool, String) {
        let mut child = Command::new(program)
            .args(arguments)
            .env("KAI_WS_URL", &self.ws_url)
            .env("KAI_API_KEY", &self.key)
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.into_owned())
    }
}

impl Drop for Kandle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with these arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kandle"));
    command.args(arguments);
    quiet(&mut command);
    command
}

/// Without input, and without the settings of this environment.
fn quiet(command: &mut Command) {
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    // Every KANDLE_… variable is a setting of the program; those of the tests are none.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KANDLE_") {
            command.env_remove(name);
        }
    }
}

/// A fresh folder of this test run.
pub(crate) fn tempdir() -> std::path::PathBuf {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("kandle-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
