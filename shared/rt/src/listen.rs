//! Opens a port, on one address or on every address of the host.
//!
//! Not here: what to do if the port cannot be opened (each program's own).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

/// Most connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 1024;

/// Every address of the host, IPv6 and IPv4.
pub const EVERY_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Listens on this address. On a host without IPv6, [`EVERY_ADDRESS`] means 0.0.0.0. Needs a running Tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    or_ipv4(address, open)
}

fn or_ipv4<T>(address: SocketAddr, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match open(address) {
        Err(error) if address.ip() == EVERY_ADDRESS && error.kind() != io::ErrorKind::AddrInUse => {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        result => result,
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            // `::` must answer IPv4 too, whatever net.ipv6.bindv6only is set to.
            SockRef::from(&socket).set_only_v6(false)?;
            socket
        }
    };
    // Allows a restarted program to open its port at once, while old connections are still closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const PORT: u16 = 8443;

    /// The address that is opened on a host where IPv6 fails with this error.
    fn opened(host: IpAddr, ipv6: io::ErrorKind) -> io::Result<SocketAddr> {
        or_ipv4(SocketAddr::from((host, PORT)), |address| {
            if address.is_ipv6() {
                return Err(io::Error::from(ipv6));
            }
            Ok(address)
        })
    }

    #[test]
    fn found_p6_every_address_is_ipv4_where_there_is_no_ipv6() {
        for without in [io::ErrorKind::Unsupported, io::ErrorKind::AddrNotAvailable] {
            assert_eq!(
                opened(EVERY_ADDRESS, without).unwrap(),
                SocketAddr::from(([0, 0, 0, 0], PORT))
            );
        }
        // If the port is taken, it is not opened on only the IPv4 addresses.
        let taken = opened(EVERY_ADDRESS, io::ErrorKind::AddrInUse).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // An address that was named is opened, or none.
        let named = opened(Ipv6Addr::LOCALHOST.into(), io::ErrorKind::AddrNotAvailable).unwrap_err();
        assert_eq!(named.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[tokio::test]
    async fn found_p6_every_address_answers_ipv4_and_ipv6() {
        let listener = bind(SocketAddr::from((EVERY_ADDRESS, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap());
        if address.is_ipv6() {
            drop(TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).unwrap());
        }
    }
}
