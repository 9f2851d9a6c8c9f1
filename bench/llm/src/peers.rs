//! Other gateways, as their documents say that they are set up. None of them keeps books here, and none asks for a key.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use tempfile::TempDir;

use crate::{
    caller::Endpoint,
    process::{GATEWAY_CORE, Process, free_port},
};

/// A gateway that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    TensorZero,
    LiteLlm,
}

/// One that runs.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) endpoint: Endpoint,
    _folder: TempDir,
}

impl Peer {
    pub(crate) const ALL: [Self; 2] = [Self::TensorZero, Self::LiteLlm];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TensorZero => "TensorZero",
            Self::LiteLlm => "LiteLLM",
        }
    }

    /// The Python that has it; `None` if it is not installed.
    pub(crate) fn python(self, peers: &Path) -> Option<PathBuf> {
        let (folder, package) = match self {
            Self::TensorZero => ("tensorzero", "tensorzero"),
            Self::LiteLlm => ("litellm", "litellm"),
        };
        let venv = peers.join(folder);
        let libraries = fs::read_dir(venv.join("lib")).ok()?.flatten();
        let has = |folder: fs::DirEntry| folder.path().join("site-packages").join(package).is_dir();
        libraries.into_iter().any(has).then(|| venv.join("bin/python"))
    }

    /// Starts it in front of `provider`.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(self, peers: &Path, sources: &Path, provider: SocketAddr) -> anyhow::Result<Running> {
        let python = self.python(peers).context("it is not installed")?;
        let folder = tempfile::tempdir_in(peers)?;
        let log = peers.join("log").join(format!("{}.log", self.name()));
        let started = match self {
            Self::TensorZero => tensorzero(&python, folder.path(), sources, provider, &log),
            Self::LiteLlm => litellm(&python, folder.path(), provider, &log),
        };
        let (process, endpoint) = started.with_context(|| self.name())?;
        Ok(Running { process, endpoint, _folder: folder })
    }
}

/// The gateway that its Python package carries. Observability, which needs a database, is off.
fn tensorzero(
    python: &Path,
    folder: &Path,
    sources: &Path,
    provider: SocketAddr,
    log: &Path,
) -> anyhow::Result<(Process, Endpoint)> {
    let (config, told) = (folder.join("tensorzero.toml"), folder.join("url"));
    let text = format!(
        "[gateway]\nobservability.enabled = false\n[models.fast]\nrouting = [\"up\"]\n[models.fast.providers.up]\n\
         type = \"openai\"\nmodel_name = \"up-1\"\napi_base = \"http://{provider}/v1/\"\napi_key_location = \"none\"\n"
    );
    fs::write(&config, text)?;
    let mut command = Command::new(python);
    command.arg(sources.join("serve_tensorzero.py")).arg(&config).arg(&told);
    let mut process = Process::start(&command, Some(GATEWAY_CORE), log)?;
    let mut url = String::new();
    process.await_ready(|| {
        url = fs::read_to_string(&told).unwrap_or_default();
        url.ends_with('\n')
    })?;
    let address = url.trim().strip_prefix("http://").and_then(|url| url.split('/').next()).context("no URL")?;
    let (path, model) = ("/openai/v1/chat/completions".to_owned(), "tensorzero::model_name::fast".to_owned());
    Ok((process, Endpoint { address: address.parse()?, path, key: "none".to_owned(), model }))
}

/// One worker: it has one core, as the others.
fn litellm(python: &Path, folder: &Path, provider: SocketAddr, log: &Path) -> anyhow::Result<(Process, Endpoint)> {
    let (address, config) = (free_port()?, folder.join("litellm.yaml"));
    let text = format!(
        "model_list:\n  - model_name: fast\n    litellm_params:\n      model: openai/up-1\n      \
         api_base: http://{provider}/v1\n      api_key: none\n"
    );
    fs::write(&config, text)?;
    let mut command = Command::new(python.with_file_name("litellm"));
    command.args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "--num_workers", "1", "--config"]);
    command.arg(&config).env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR");
    let mut process = Process::start(&command, Some(GATEWAY_CORE), log)?;
    process.await_port(address)?;
    let (path, model) = ("/v1/chat/completions".to_owned(), "fast".to_owned());
    Ok((process, Endpoint { address, path, key: "none".to_owned(), model }))
}
