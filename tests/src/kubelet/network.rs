//! The addresses of pods and nodes: each has one that looks like that of a pod network, because the API server refuses endpoints on the loopback,
//! and one on the loopback, where the process that plays the pod really listens.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::identity::Endpoint;

/// The network of one control plane. Two at once differ, because its middle is the API server's port.
#[derive(Debug)]
pub(super) struct Network {
    middle: [u8; 2],
    /// The last number of each address, by who has it.
    taken: Mutex<BTreeMap<String, u8>>,
}

/// One address, in both forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address([u8; 3]);

impl Network {
    pub(super) fn of(endpoint: &Endpoint) -> Result<Self> {
        let port = endpoint
            .url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse::<u16>().ok());
        let port = port.with_context(|| format!("{} has no port", endpoint.url))?;
        Ok(Self {
            middle: port.to_be_bytes(),
            taken: Mutex::default(),
        })
    }

    /// The address of this pod or node, always the same until it is [released](Self::release).
    pub(super) fn address(&self, who: &str) -> Result<Address> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match taken.get(who) {
            Some(number) => *number,
            None => (1..=254)
                .find(|number| !taken.values().any(|other| other == number))
                .context("the network has 254 addresses, and all are taken; start fewer nodes")?,
        };
        let _: Option<u8> = taken.insert(who.to_owned(), number);
        let [high, low] = self.middle;
        Ok(Address([high, low, number]))
    }

    pub(super) fn release(&self, who: &str) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let _: Option<u8> = taken.remove(who);
    }

    /// The address whose shown form this is.
    pub(super) fn find(&self, shown: Ipv4Addr) -> Option<Address> {
        let [first, high, low, number] = shown.octets();
        (first == 10 && [high, low] == self.middle).then_some(Address([high, low, number]))
    }
}

impl Address {
    /// As the API server sees it.
    pub(super) fn shown(self) -> Ipv4Addr {
        let Self([high, low, number]) = self;
        Ipv4Addr::new(10, high, low, number)
    }

    /// Where it really is.
    pub(super) fn real(self) -> Ipv4Addr {
        let Self([high, low, number]) = self;
        Ipv4Addr::new(127, high, low, number)
    }

    /// An error if one of these ports cannot be listened on here. Another cluster has other addresses, so it is a program that listens on the same
    /// port of every address.
    pub(super) fn check_free(self, ports: impl IntoIterator<Item = u16>) -> Result<()> {
        let address = self.real();
        for port in ports {
            let tried = TcpListener::bind((address, port));
            drop(tried.with_context(|| {
                format!(
                    "a pod needs port {port} of {address}, and it cannot be listened on; if a program of this machine listens on port {port} of every \
                     address, stop it while the cluster runs (`ss -ltnp sport = :{port}` names it)"
                )
            })?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_a_program_has_on_every_address_is_named_with_the_address() {
        let program = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = program.local_addr().unwrap().port();
        let address = Address([1, 2, 3]);
        let error = address.check_free([port]).unwrap_err();
        let said = format!("{error:#}");
        assert!(
            said.contains(&format!("port {port} of 127.1.2.3")) && said.contains(&format!("sport = :{port}")),
            "{said}"
        );
        drop(program);
        address.check_free([port]).unwrap();
    }
}
