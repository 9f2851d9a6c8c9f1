//! A real QuestDB of a test's own, which it may stop and start.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

/// A server of this test's own, ended with it.
pub(crate) struct Server {
    folder: PathBuf,
    pub(crate) http: u16,
    pg: u16,
}

impl Server {
    /// Starts one with its data in `folder`, on free ports.
    pub(crate) fn start(folder: &Path) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { folder: folder.to_owned(), http: free(), pg: free() };
        server.run();
        server
    }

    /// Starts it again.
    pub(crate) fn run(&self) {
        self.script(&["start", &self.folder.display().to_string(), &self.http.to_string(), &self.pg.to_string()]);
    }

    /// Ends it without a chance to put anything in order.
    #[allow(dead_code, reason = "not every suite kills its server")]
    pub(crate) fn kill(&self) {
        let pid = fs::read_to_string(self.folder.join("questdb.pid")).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
        self.stop();
    }

    /// Ends it in order.
    pub(crate) fn stop(&self) {
        self.script(&["stop", &self.folder.display().to_string()]);
    }

    fn script(&self, arguments: &[&str]) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let script = root.map(|folder| folder.join("tests/servers/questdb.sh")).find(|script| script.exists()).unwrap();
        let output = Command::new("bash").arg(script).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
