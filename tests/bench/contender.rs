//! Who is measured, and how each one is configured and started.
//!
//! The configurations are files in `configurations/`, in each contender's own language, so that anybody who knows it
//! can judge whether it was treated fairly. This module fills in ports and paths, and must not decide anything else.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;

use crate::chain::{Chain, Filter};
use crate::grpc;
use crate::load::{Manner, Shape};
use crate::machine::version_line;
use crate::options::Options;
use crate::probe;
use crate::process::Pinned;

/// What every filter of the chain adds to the request, and to the response.
const REQUEST_MARK: &str = "x-guest-request";
const RESPONSE_MARK: &str = "x-guest-response";

/// How long a contender may take to listen: Envoy compiles its modules first.
const START: Duration = Duration::from_secs(30);

/// Somebody between the load and the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Contender {
    /// Nobody: what the load and the upstream do on their own.
    Direct,
    Nginx,
    Haproxy,
    Envoy,
    Tidegate,
}

impl Contender {
    pub(crate) const ALL: [Contender; 5] =
        [Contender::Direct, Contender::Nginx, Contender::Haproxy, Contender::Envoy, Contender::Tidegate];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Direct => "direct",
            Contender::Nginx => "nginx",
            Contender::Haproxy => "HAProxy",
            Contender::Envoy => "Envoy",
            Contender::Tidegate => "tidegate",
        }
    }

    pub(crate) fn runs_filters(self) -> bool {
        matches!(self, Contender::Envoy | Contender::Tidegate)
    }
}

/// A contender with a chain of filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Setup {
    pub(crate) contender: Contender,
    pub(crate) filters: Chain,
}

impl Setup {
    pub(crate) fn title(self) -> String {
        match self.contender.runs_filters() {
            false => self.contender.name().to_owned(),
            true => format!("{}, {}", self.contender.name(), self.filters),
        }
    }
}

/// The programs, the upstream and the folder that the contenders share.
pub(crate) struct Laboratory {
    scratch: PathBuf,
    envoy: PathBuf,
    tidegate: PathBuf,
    module: PathBuf,
    proxy_core: usize,
    /// The message that a gRPC call sends.
    pub(crate) message: PathBuf,
    upstream: SocketAddr,
    /// The same over HTTP/2.
    http2: SocketAddr,
    grpc: SocketAddr,
    _processes: [Pinned; 2],
}

/// A setup that runs and answers.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// `None` for the direct connection.
    pub(crate) process: Option<Pinned>,
}

impl Laboratory {
    /// Starts the upstream; `scratch` is a folder of this run's own.
    pub(crate) fn open(options: &Options, scratch: &Path) -> anyhow::Result<Laboratory> {
        let scratch = scratch.canonicalize()?;
        fs::write(scratch.join("64k"), large_body())?;
        let message = scratch.join("message");
        fs::write(&message, grpc::MESSAGE)?;
        let (upstream, http2, grpc) =
            (loopback(free_port()?), loopback(free_port()?), loopback(free_port()?));
        let configuration = include_str!("configurations/upstream.conf")
            .replace("@SMALL@", &small_body())
            .replace("@SEEN@", &format!("http_{}", REQUEST_MARK.replace('-', "_")));
        let (port, port2) = (upstream.port().to_string(), http2.port().to_string());
        let file = write(&scratch, "upstream.conf", &configuration, &[("PORT", &port), ("HTTP2", &port2)])?;
        let log = scratch.join("upstream.log");
        let mut nginx =
            Pinned::start("the upstream", options.load_core, "nginx".as_ref(), &["-c", &file], log)?;
        nginx.wait_for(upstream, START).context("the upstream is nginx (Debian: nginx-light)")?;
        let this = std::env::current_exe().context("cannot name this program")?;
        let (address, log) = (grpc.to_string(), scratch.join("grpc.log"));
        let mut service =
            Pinned::start("the gRPC service", options.load_core, &this, &["serve", &address], log)?;
        service.wait_for(grpc, START)?;
        Ok(Laboratory {
            scratch,
            envoy: options.envoy_path(),
            tidegate: options.tidegate_path(),
            module: options.module_path(),
            proxy_core: options.proxy_core,
            message,
            upstream,
            http2,
            grpc,
            _processes: [nginx, service],
        })
    }

    /// Starts a setup and makes sure that it answers rightly.
    pub(crate) fn start(&self, setup: Setup) -> anyhow::Result<Running> {
        let running = match setup.contender {
            Contender::Direct => Running { address: self.upstream, process: None },
            contender => {
                let address = loopback(free_port()?);
                let mut process = self.launch(contender, setup.filters, address)?;
                process.wait_for(address, START)?;
                Running { address, process: Some(process) }
            }
        };
        for shape in Shape::ALL.into_iter().filter(|shape| shape.concerns(setup)) {
            self.check_answer(running.address, setup.filters, shape)
                .with_context(|| format!("{} is answered wrongly", shape.title()))?;
        }
        Ok(running)
    }

    fn launch(&self, contender: Contender, chain: Chain, address: SocketAddr) -> anyhow::Result<Pinned> {
        let chain = chain.filters(&self.module, &self.scratch)?;
        let names: Vec<&str> = chain.iter().map(|filter| filter.name.as_str()).collect();
        let admin = free_port()?.to_string();
        let values = [
            ("PORT", address.port().to_string()),
            ("ADMIN", admin),
            ("UPSTREAM", self.upstream.port().to_string()),
            ("HTTP2", self.http2.port().to_string()),
            ("GRPC", self.grpc.port().to_string()),
            ("CHAIN", names.join(", ")),
        ];
        let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
        let filled = |file: &str, template: &str, filter: &str| {
            let fill = |one: &Filter| {
                let text = filter.replace("@NAME@", &one.name).replace("@MODULE@", &one.module);
                let text =
                    text.replace("@FILE@", &one.file.to_string_lossy()).replace("@CONFIG@", one.config);
                text.trim_end().to_owned()
            };
            let filters: String = chain.iter().map(fill).collect();
            let heading =
                if contender == Contender::Tidegate && !filters.is_empty() { "filters:" } else { "" };
            write(
                &self.scratch,
                &format!("{}-{file}", address.port()),
                &template.replace("@FILTERS@", &format!("{heading}{filters}")),
                &values,
            )
        };
        let (program, arguments): (&Path, Vec<String>) = match contender {
            Contender::Direct => anyhow::bail!("the direct connection is no program"),
            Contender::Nginx => {
                let file = filled("nginx.conf", include_str!("configurations/nginx.conf"), "")?;
                ("nginx".as_ref(), vec!["-c".into(), file])
            }
            Contender::Haproxy => {
                let file = filled("haproxy.cfg", include_str!("configurations/haproxy.cfg"), "")?;
                ("haproxy".as_ref(), vec!["-db".into(), "-f".into(), file])
            }
            Contender::Envoy => {
                let path = self.envoy.display();
                ensure!(self.envoy.is_file(), "no Envoy at {path} (see tests/bench/README.md)");
                let template = include_str!("configurations/envoy.yaml");
                let file = filled("envoy.yaml", template, include_str!("configurations/envoy-filter.yaml"))?;
                let flags =
                    ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", &file];
                (&self.envoy, flags.map(str::to_owned).to_vec())
            }
            Contender::Tidegate => {
                let template = include_str!("configurations/tidegate.yaml");
                let file =
                    filled("tidegate.yaml", template, include_str!("configurations/tidegate-filter.yaml"))?;
                (&self.tidegate, ["run", &file, "--workers", "1"].map(str::to_owned).to_vec())
            }
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = self.scratch.join(format!("{}-{}.log", address.port(), contender.name()));
        Pinned::start(contender.name(), self.proxy_core, program, &arguments, log)
    }

    /// One request of a shape: the right status, the right body to the last byte, and every filter's mark both ways.
    pub(crate) fn check_answer(&self, address: SocketAddr, chain: Chain, shape: Shape) -> anyhow::Result<()> {
        match shape.manner() {
            Manner::KeepAlive | Manner::NewConnections => self.check_http1(address, chain, shape),
            Manner::Http2 { .. } => self.check_http2(address, chain, shape),
        }
    }

    fn check_http2(&self, address: SocketAddr, chain: Chain, shape: Shape) -> anyhow::Result<()> {
        let answer = grpc::ask(address, shape.path(), shape.is_grpc())?;
        ensure!(answer.status == 200, "{} answers {}", shape.path(), answer.status);
        match shape {
            Shape::GrpcUnary => answer.check_messages(1)?,
            Shape::GrpcStreaming => answer.check_messages(grpc::STREAMED)?,
            _ => ensure!(answer.body == small_body().as_bytes(), "{} has a wrong body", shape.path()),
        }
        let marks = answer.fields.get_all(RESPONSE_MARK).iter().count();
        ensure!(marks == chain.marks(), "{marks} of {} filters marked the response", chain.marks());
        let seen = grpc::ask(address, "/h2/seen", false)?;
        ensure!(
            seen.body.is_empty() == (chain.marks() == 0),
            "the upstream wrongly saw {REQUEST_MARK}, or missed it"
        );
        Ok(())
    }

    fn check_http1(&self, address: SocketAddr, chain: Chain, shape: Shape) -> anyhow::Result<()> {
        let socket = probe::connect(address)?;
        let mut buffer = Vec::new();
        let response = probe::exchange(&socket, &probe::request(address, shape.path()), &mut buffer)?;
        ensure!(response.status == 200, "{} answers {}", shape.path(), response.status);
        let expected = match shape {
            Shape::KeepAlive64K | Shape::New64K => large_body(),
            _ => small_body().into_bytes(),
        };
        ensure!(response.body == expected, "{} has a wrong body", shape.path());
        let marks = response.values(RESPONSE_MARK).count();
        ensure!(marks == chain.marks(), "{marks} of {} filters marked the response", chain.marks());

        let response = probe::exchange(&socket, &probe::request(address, "/seen"), &mut buffer)?;
        ensure!(
            response.body.is_empty() == (chain.marks() == 0),
            "the upstream wrongly saw {REQUEST_MARK}, or missed it"
        );
        Ok(())
    }

    /// The programs of these contenders and of the load, as they name themselves.
    pub(crate) fn versions(&self, setups: &[Setup]) -> Vec<String> {
        let mut programs: Vec<(&Path, &str)> = Vec::new();
        for contender in Contender::ALL {
            if setups.iter().any(|setup| setup.contender == contender) {
                match contender {
                    Contender::Direct | Contender::Nginx => {}
                    Contender::Haproxy => programs.push(("haproxy".as_ref(), "-v")),
                    Contender::Envoy => programs.push((&self.envoy, "--version")),
                    Contender::Tidegate => programs.push((&self.tidegate, "--version")),
                }
            }
        }
        // nginx is always there: it is the upstream.
        programs.extend([("nginx".as_ref(), "-v"), ("h2load".as_ref(), "--version"), ("wrk".as_ref(), "-v")]);
        programs
            .into_iter()
            .map(|(program, flag)| {
                let name =
                    program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let line = version_line(program, flag).unwrap_or_else(|| "version unknown".into());
                // Only what follows the program's path, which is nobody's business.
                let line = line.rsplit_once("version: ").map_or(line.as_str(), |(_, rest)| rest);
                format!("{name}: {line}")
            })
            .collect()
    }
}

fn small_body() -> String {
    "0123456789".repeat(6)
}

/// 64 KiB in which no two lines are alike, so that a body put together wrongly is seen.
fn large_body() -> Vec<u8> {
    (0..4096).flat_map(|line| format!("line {line:>10}\n").into_bytes()).collect()
}

/// Fills `@NAME@` places and writes the file.
fn write(folder: &Path, name: &str, template: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = template.replace("@SCRATCH@", &folder.to_string_lossy());
    for (place, value) in values {
        text = text.replace(&format!("@{place}@"), value);
    }
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_string_lossy().into_owned())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that was free a moment ago: not every contender can say which one the kernel gave it.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(loopback(0))?.local_addr()?.port())
}
