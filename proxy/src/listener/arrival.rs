//! A connection's way from its acceptance to whoever serves it: who it says it is from, what it is, and its TLS handshake.
//!
//! ```text
//!   introduction  whose it is (the PROXY protocol)
//!   sight         what it is, where that decides where it goes
//!   handshake     TLS, where it ends here
//!   serve         HTTP, or TCP to a cluster
//! ```
//!
//! All of it has limits in time, and a drain ends it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::{AlertDescription, CommonState, HandshakeKind};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::Door;
use super::connection;
use super::introduction::{self, Ends, Unintroduced};
use super::sight::{self, Sight};
use crate::config::model::{Listener, Protocol};
use crate::error::Failure;
use crate::exchange::{Peer, Site};
use crate::tls::{self, H2, HTTP_1_1, Termination, Version};
use crate::transport::{Socket, Transport};
use crate::wasm::stream::{Certificate, Tls};
use crate::{route, tcp};

/// How long a client may take to read that it should speak TLS.
const PARTING: Duration = Duration::from_secs(1);

/// The first byte of TLS: a record of its handshake.
const HANDSHAKE: u8 = 22;

/// A connection that is on its way.
pub(super) struct Arrival {
    pub(super) door: Rc<Door>,
    /// What holds for it, whatever comes after its acceptance.
    pub(super) site: Rc<Site>,
    pub(super) ends: Ends,
    pub(super) id: u64,
    /// When it was accepted.
    pub(super) since: Instant,
}

/// Where a connection goes.
enum Way {
    Http(Transport),
    /// To one of these clusters. Where it is passed on as it is, nobody looks into it.
    Tcp {
        transport: Transport,
        cluster: usize,
        opaque: bool,
    },
}

impl Arrival {
    /// Brings the connection to whoever serves it, and serves it.
    pub(super) async fn go(mut self, mut socket: Socket) {
        let arrived = {
            let drain = self.door.drain().clone();
            let arriving = std::pin::pin!(async {
                if self.site.listener().proxy_protocol {
                    self.ends = self.introduced(&mut socket).await?;
                }
                self.find_way(socket).await
            });
            tokio::select! {
                biased;
                arrived = arriving => arrived,
                () = drain.over() => Err(None),
            }
        };
        match arrived {
            Ok((way, tls)) => self.serve(way, tls).await,
            Err(failure) => {
                if let Some(failure) = failure {
                    self.site.reporter().cell().count_protocol_error(failure);
                }
            }
        }
    }

    async fn serve(self, way: Way, tls: Option<Arc<Tls>>) {
        let Arrival { door, site, ends, id, since: _ } = self;
        match way {
            Way::Http(transport) => {
                let peer = Peer::new(ends.0, ends.1, id).with_tls(tls);
                Box::pin(connection::serve(transport, Arc::new(peer), door)).await;
            }
            Way::Tcp { transport, cluster, opaque } => {
                let arrived = tcp::Arrived { ends, id, tls, cluster, opaque };
                Box::pin(tcp::serve(transport, arrived, site)).await;
            }
        }
    }

    /// Whose connection it is, as it says first.
    async fn introduced(&self, socket: &mut Socket) -> Result<Ends, Option<Failure>> {
        let limit = Instant::now() + self.site.listener().limits.header_timeout;
        let (limit, late) = match self.must_be_tls().map(|tls| self.deadline(tls)) {
            Some(deadline) if deadline < limit => (deadline, Failure::TlsTimeout),
            _ => (limit, Failure::NotIntroduced),
        };
        match timeout_at(limit, introduction::receive(socket, self.ends)).await {
            Ok(Ok(ends)) => Ok(ends),
            Ok(Err(Unintroduced::Cut(_))) => Err(None), // a check of health, most often
            Ok(Err(error @ (Unintroduced::Malformed | Unintroduced::TooLong))) => {
                self.tell_of(&error);
                Err(Some(Failure::NotIntroduced))
            }
            Err(_) => Err(Some(late)),
        }
    }

    /// What ends its TLS, where it can be nothing else.
    fn must_be_tls(&self) -> Option<&Arc<Termination>> {
        let Listener { tls, protocol, .. } = self.site.listener();
        tls.as_ref().filter(|_| !matches!(protocol, Protocol::Auto(_)))
    }

    /// Finds out where the connection goes, and ends its TLS if that is to end here.
    async fn find_way(&self, socket: Socket) -> Result<(Way, Option<Arc<Tls>>), Option<Failure>> {
        let listener = self.site.listener();
        let mut transport = Transport::from(socket);
        if listener.looks_at_first_bytes() {
            let must_be_tls = self.must_be_tls();
            let (back, sight) = self.look(transport, must_be_tls).await?;
            transport = back;
            match sight {
                Sight::Tls(name) => {
                    let cluster = name.as_deref().and_then(|name| listener.server_names.find(name));
                    if cluster.is_some() || listener.tls.is_none() {
                        let way = match cluster {
                            Some(cluster) => self.to(cluster, transport),
                            None => self.to_a_cluster(transport)?,
                        };
                        // Nothing else is known of a handshake that is not made here.
                        let server_name = name.unwrap_or_default();
                        return Ok((way, Some(Arc::new(Tls { server_name, ..Tls::default() }))));
                    }
                }
                _ if must_be_tls.is_some() => {
                    return Err(self.refuse_plain(transport).await);
                }
                Sight::Http if !matches!(listener.protocol, Protocol::Tcp(_)) => {
                    return Ok((Way::Http(transport), None));
                }
                Sight::Http | Sight::Other => return self.plain(transport),
            }
        } else if listener.tls.is_some() {
            transport = self.begins_with_tls(transport).await?;
        }
        let Some(termination) = &listener.tls else { return self.plain(transport) };
        let (transport, tls) = self.terminate(transport, termination).await?;
        let way = self.inside(transport).await?;
        Ok((way, Some(tls)))
    }

    /// To one of the listener's own clusters.
    fn to_a_cluster(&self, transport: Transport) -> Result<Way, Option<Failure>> {
        let cluster = route::pick_share(self.site.listener().protocol.shares(), fastrand::u64(..));
        let cluster = cluster.ok_or(Some(Failure::NoRoute))?;
        Ok(self.to(cluster, transport))
    }

    /// Filters of requests have nothing to say of connections.
    fn to(&self, cluster: usize, transport: Transport) -> Way {
        let opaque = !matches!(self.site.listener().protocol, Protocol::Tcp(_));
        Way::Tcp { transport, cluster, opaque }
    }

    /// What is not TLS, nor HTTP where that is looked for.
    fn plain(&self, transport: Transport) -> Result<(Way, Option<Arc<Tls>>), Option<Failure>> {
        let way = match &self.site.listener().protocol {
            Protocol::Http => Way::Http(transport),
            Protocol::Tcp(_) | Protocol::Auto(_) => self.to_a_cluster(transport)?,
        };
        Ok((way, None))
    }

    /// What goes on in TLS that ended here.
    async fn inside(&self, transport: Transport) -> Result<Way, Option<Failure>> {
        let listener = self.site.listener();
        if let Protocol::Auto(_) = listener.protocol {
            match transport.alpn().as_deref() {
                Some(H2 | HTTP_1_1) => return Ok(Way::Http(transport)),
                Some(_) => return self.to_a_cluster(transport),
                None => {}
            }
            let (transport, sight) = self.look(transport, None).await?;
            return match sight {
                Sight::Http => Ok(Way::Http(transport)),
                Sight::Tls(_) | Sight::Other => self.to_a_cluster(transport),
            };
        }
        self.plain(transport).map(|(way, _)| way)
    }

    /// Looks at what the client says first, for as long as that may take. Then it is something else: what waits for the
    /// server to speak says nothing.
    async fn look(
        &self,
        transport: Transport,
        must_be_tls: Option<&Arc<Termination>>,
    ) -> Result<(Transport, Sight), Option<Failure>> {
        let limits = &self.site.listener().limits;
        let limit = match must_be_tls {
            Some(tls) => self.deadline(tls),
            None => Instant::now() + limits.detection_timeout,
        };
        let mut seen = BytesMut::new();
        let looking = sight::look(&transport, &mut seen, limits.header_bytes);
        let sight = match timeout_at(limit, looking).await {
            Ok(Ok(sight)) => sight,
            Ok(Err(_)) => return Err(None), // the client left before it said anything
            Err(_) if must_be_tls.is_some() => return Err(Some(Failure::TlsTimeout)),
            Err(_) => Sight::Other,
        };
        Ok((sight::put_back(transport, seen), sight))
    }

    /// Until when its handshake has to be over, whatever came before that.
    fn deadline(&self, termination: &Termination) -> Instant {
        self.since + termination.terms().handshake_timeout
    }

    /// Waits for the first byte, and refuses what is not TLS before any of it is answered as such.
    async fn begins_with_tls(&self, transport: Transport) -> Result<Transport, Option<Failure>> {
        let Some(tls) = &self.site.listener().tls else { return Ok(transport) };
        let mut first = [0];
        match timeout_at(self.deadline(tls), transport.socket().peek(&mut first)).await {
            Ok(Ok(1..)) if first[0] == HANDSHAKE => Ok(transport),
            Ok(Ok(1..)) => Err(self.refuse_plain(transport).await),
            Ok(Ok(0) | Err(_)) => Err(None), // a check of health, most often
            Err(_) => Err(Some(Failure::TlsTimeout)),
        }
    }

    /// Tells a client that speaks HTTP where TLS is spoken, in its own language, and anybody else nothing.
    async fn refuse_plain(&self, mut transport: Transport) -> Option<Failure> {
        const TEXT: &str = "this port speaks HTTPS, and the request came in HTTP\n";
        let response = format!(
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{TEXT}",
            TEXT.len()
        );
        self.tell_of(&Failure::NotTls);
        if !matches!(self.site.listener().protocol, Protocol::Tcp(_)) {
            let answer = async {
                let mut discarded = [0; 4 << 10];
                transport.write_all(response.as_bytes()).await?;
                transport.socket().end()?;
                while transport.socket().read(&mut discarded).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = timeout(PARTING, answer).await;
        }
        Some(Failure::NotTls)
    }

    async fn terminate(
        &self,
        transport: Transport,
        termination: &Arc<Termination>,
    ) -> Result<(Transport, Arc<Tls>), Option<Failure>> {
        let Some(wire) = transport.into_wire() else { return Err(Some(Failure::TlsFailed)) };
        let (config, shown) = termination.begin();
        let shaking = TlsAcceptor::from(config).accept(wire);
        let stream = match timeout_at(self.deadline(termination), shaking).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.tell_of(&error);
                return Err(Some(failure_of(&error)));
            }
            Err(_) => return Err(Some(Failure::TlsTimeout)),
        };
        let (_, session) = stream.get_ref();
        let version = session.protocol_version().and_then(Version::of);
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed && let Err(error) = termination.verify_resumed(session.peer_certificates()) {
            self.tell_of(&error);
            return Err(Some(Failure::TlsClientNotTrusted));
        }
        if let Some(version) = version {
            self.site.reporter().cell().handshakes().count(version, resumed);
        }
        let server_name = session.server_name().unwrap_or_default().to_owned();
        let tls = facts(session, version, server_name, termination.certificate(&shown));
        Ok((Transport::from(tokio_rustls::TlsStream::Server(stream)), Arc::new(tls)))
    }

    fn tell_of(&self, error: &dyn std::fmt::Display) {
        let listener = &self.site.listener().name;
        tracing::debug!(listener, from = %self.ends.0, %error, "closed a connection");
    }
}

/// What filters and the access log see of a handshake.
fn facts(
    session: &CommonState,
    version: Option<Version>,
    server_name: String,
    local: Option<&Certificate>,
) -> Tls {
    let peer = session.peer_certificates().and_then(|chain| tls::certificate_of(chain.first()?));
    Tls { version: version.map_or("", Version::word).to_owned(), local: local.cloned(), peer, server_name }
}

/// Why there was no handshake.
fn failure_of(error: &io::Error) -> Failure {
    let cause = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            Failure::TlsIncompatible
        }
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Failure::TlsClientNotTrusted
        }
        Some(rustls::Error::AlertReceived(alert)) if *alert != AlertDescription::CloseNotify => {
            Failure::TlsRejected
        }
        _ => Failure::TlsFailed,
    }
}
