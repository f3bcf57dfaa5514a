//! TLS on both sides of a proxy: an authority that issues certificates, a client that ends TLS for the equipment that
//! speaks without ([`TlsClient`]), and a server that does ([`TlsServer`]).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, StreamOwned,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Who vouches for others.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        Authority(CertifiedIssuer::self_signed(params, key).expect("it can be signed"))
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these hosts, or addresses.
    pub(crate) fn issue(&self, hosts: &[&str]) -> Issued {
        self.issue_with(hosts, |_| {})
    }

    /// One that ended long ago.
    pub(crate) fn issue_expired(&self, hosts: &[&str]) -> Issued {
        self.issue_with(hosts, |params| {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 3);
        })
    }

    /// One that ends then, to the second.
    pub(crate) fn issue_until(&self, hosts: &[&str], end: SystemTime) -> Issued {
        let since_epoch = end.duration_since(UNIX_EPOCH).expect("it is later");
        let since_epoch = Duration::from_secs(since_epoch.as_secs());
        self.issue_with(hosts, |params| params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch)
    }

    /// One whose key is of Ed25519, which not every client can make use of.
    pub(crate) fn issue_ed25519(&self, hosts: &[&str]) -> Issued {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key can be made");
        self.issue_for(&key, hosts, |_| {})
    }

    fn issue_with(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.issue_for(&KeyPair::generate().expect("a key can be made"), hosts, change)
    }

    fn issue_for(
        &self,
        key: &KeyPair,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, hosts[0]);
        params.subject_alt_names = hosts
            .iter()
            .map(|host| match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*host).try_into().expect("it is a host")),
            })
            .collect();
        change(&mut params);
        let certificate = params.signed_by(key, &self.0).expect("it can be signed");
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// What a client says and asks of a handshake.
pub(crate) struct TlsOptions {
    believed: RootCertStore,
    name: ServerName<'static>,
    alpn: Vec<Vec<u8>>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
    identity: Option<Issued>,
}

/// What a handshake came to, as one side saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shaken {
    pub(crate) version: ProtocolVersion,
    pub(crate) alpn: Option<String>,
    pub(crate) resumed: bool,
    /// The host that was asked for, as the server saw it; the first that the server's certificate is for, as the client
    /// saw it.
    pub(crate) name: String,
}

impl TlsOptions {
    /// A client that believes this authority and asks for this host (or address).
    pub(crate) fn new(authority: &Authority, name: &str) -> TlsOptions {
        let mut believed = RootCertStore::empty();
        let pem = authority.pem();
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("it is one");
        believed.add(certificate).expect("it is an authority");
        let name = ServerName::try_from(name.to_owned()).expect("it is a host or an address");
        TlsOptions { believed, name, alpn: Vec::new(), versions: rustls::ALL_VERSIONS, identity: None }
    }

    pub(crate) fn alpn(mut self, names: &[&str]) -> TlsOptions {
        self.alpn = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) fn version_1_2(mut self) -> TlsOptions {
        static ONLY: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
        self.versions = &ONLY;
        self
    }

    pub(crate) fn identity(mut self, identity: Issued) -> TlsOptions {
        self.identity = Some(identity);
        self
    }

    /// Makes the handshake on a connection that there is. The connection ends as the test has it end: nothing is said of
    /// that by itself.
    pub(crate) fn shake(&self, mut stream: std::net::TcpStream) -> io::Result<ClientStream> {
        let config = Arc::new(self.config());
        let session = ClientConnection::new(config, self.name.clone());
        let mut session = session.expect("it can be asked for");
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }

    fn config(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .expect("the provider has them")
            .with_root_certificates(self.believed.clone());
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = parts(identity);
                builder.with_client_auth_cert(chain, key).expect("they belong together")
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }
}

fn parts(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("they are certificates");
    (chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("it is a key"))
}

/// A client's side of a connection.
pub(crate) type ClientStream = StreamOwned<ClientConnection, std::net::TcpStream>;

/// A server's side of a connection that was accepted, whose handshake is made with the first that is read or written. It
/// ends as the test has it end: nothing is said of that by itself.
pub(crate) fn tls_accepted(
    stream: std::net::TcpStream,
    issued: &Issued,
) -> StreamOwned<ServerConnection, std::net::TcpStream> {
    let session = ServerConnection::new(Arc::new(server_config(issued)));
    StreamOwned::new(session.expect("the configuration is whole"), stream)
}

fn server_config(issued: &Issued) -> ServerConfig {
    let (chain, key) = parts(issued);
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together")
}

/// Work on a thread of its own. Dropped, it ends, and nothing is left of it.
struct Running(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            let _ = thread.join(); // a panic was told by its hook
        }
    }
}

fn keep_running(work: impl Future<Output = ()> + Send + 'static) -> Running {
    let (end, mut dropped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        runtime.block_on(async {
            tokio::select! {
                () = work => {}
                _ = &mut dropped => {}
            }
        });
    });
    Running(Some((end, thread)))
}

async fn bound(address: SocketAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).await.expect("the address is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

/// A way to a TLS server for clients that speak without: what connects to its address is carried to the server with TLS on
/// it, as the options say. Sessions are resumed where the server lets them be.
pub(crate) struct TlsClient {
    address: SocketAddr,
    shaken: Arc<Mutex<Vec<Result<Shaken, String>>>>,
    _thread: Running,
}

impl TlsClient {
    pub(crate) fn to(server: SocketAddr, options: &TlsOptions) -> TlsClient {
        let (config, name) = (Arc::new(options.config()), options.name.clone());
        let shaken = Arc::<Mutex<Vec<_>>>::default();
        let (told, tells) = (std::sync::mpsc::channel(), shaken.clone());
        let (tell, address) = told;
        let thread = keep_running(async move {
            let (listener, own) = bound((Ipv4Addr::LOCALHOST, 0).into()).await;
            tell.send(own).expect("somebody waits for it");
            while let Ok((plain, _)) = listener.accept().await {
                let (config, name, shaken) = (config.clone(), name.clone(), tells.clone());
                tokio::spawn(async move {
                    let tcp = TcpStream::connect(server).await.expect("the server listens");
                    match TlsConnector::from(config).connect(name, tcp).await {
                        Ok(mut stream) => {
                            shaken.lock().expect("nobody panics with it").push(Ok(seen_by_client(&stream)));
                            let mut plain = plain;
                            let _ = copy_bidirectional(&mut plain, &mut stream).await;
                        }
                        Err(error) => {
                            shaken.lock().expect("nobody panics with it").push(Err(error.to_string()));
                        }
                    }
                });
            }
        });
        let address = address.recv().expect("it listens");
        TlsClient { address, shaken, _thread: thread }
    }

    /// Where to connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What every handshake came to so far, in the order of their ends.
    pub(crate) fn shaken(&self) -> Vec<Result<Shaken, String>> {
        self.shaken.lock().expect("nobody panics with it").clone()
    }
}

fn seen_by_client(stream: &tokio_rustls::client::TlsStream<TcpStream>) -> Shaken {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    Shaken {
        version: session.protocol_version().expect("it is agreed on"),
        alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        name: certificate.map(|der| first_host(der)).unwrap_or_default(),
    }
}

/// The first host that a certificate is for.
fn first_host(der: &[u8]) -> String {
    use x509_cert::der::Decode;
    use x509_cert::ext::pkix::SubjectAltName;
    use x509_cert::ext::pkix::name::GeneralName;
    let certificate = x509_cert::Certificate::from_der(der).expect("it is one");
    let names = certificate.tbs_certificate.get::<SubjectAltName>().expect("they can be read");
    let host = names.into_iter().flat_map(|(_, names)| names.0).find_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    });
    host.unwrap_or_default()
}

/// TLS before a server that speaks without: what comes with TLS on it is carried to that server.
pub(crate) struct TlsServer {
    address: SocketAddr,
    shaken: Arc<Mutex<Vec<Result<Shaken, String>>>>,
    _thread: Running,
}

impl TlsServer {
    /// One that shows this certificate and agrees on one of these protocols.
    pub(crate) fn before(server: SocketAddr, issued: &Issued, alpn: &[&str]) -> TlsServer {
        TlsServer::at((Ipv4Addr::LOCALHOST, 0).into(), server, issued, alpn)
    }

    /// The same at an address.
    pub(crate) fn at(own: SocketAddr, server: SocketAddr, issued: &Issued, alpn: &[&str]) -> TlsServer {
        let mut config = server_config(issued);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = Arc::new(config);
        let shaken = Arc::<Mutex<Vec<_>>>::default();
        let (tell, address) = std::sync::mpsc::channel();
        let tells = shaken.clone();
        let thread = keep_running(async move {
            let (listener, own) = bound(own).await;
            tell.send(own).expect("somebody waits for it");
            while let Ok((tcp, _)) = listener.accept().await {
                let (config, shaken) = (config.clone(), tells.clone());
                tokio::spawn(async move {
                    match TlsAcceptor::from(config).accept(tcp).await {
                        Ok(stream) => {
                            let seen = seen_by_server(&stream);
                            shaken.lock().expect("nobody panics with it").push(Ok(seen));
                            let _ = carry(stream, server).await;
                        }
                        Err(error) => {
                            shaken.lock().expect("nobody panics with it").push(Err(error.to_string()));
                        }
                    }
                });
            }
        });
        let address = address.recv().expect("it listens");
        TlsServer { address, shaken, _thread: thread }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What every handshake came to so far, in the order of their ends.
    pub(crate) fn shaken(&self) -> Vec<Result<Shaken, String>> {
        self.shaken.lock().expect("nobody panics with it").clone()
    }
}

async fn carry(mut stream: tokio_rustls::server::TlsStream<TcpStream>, server: SocketAddr) -> io::Result<()> {
    let mut plain = TcpStream::connect(server).await?;
    copy_bidirectional(&mut stream, &mut plain).await.map(drop)
}

fn seen_by_server(stream: &tokio_rustls::server::TlsStream<TcpStream>) -> Shaken {
    let (_, session) = stream.get_ref();
    Shaken {
        version: session.protocol_version().expect("it is agreed on"),
        alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        name: session.server_name().unwrap_or_default().to_owned(),
    }
}
