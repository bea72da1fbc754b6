//! The options that are lists of algorithms. Owns when a list is wrong, which is
//! when it is read; which algorithms there are, `ssh::algorithms` says.

use super::Options;
use super::slot::{Value, first};
use crate::printable::Printable;
use crate::ssh::algorithms::{Algorithms, Chosen, List, Mistake};

/// Makes a value of what a list changes: the names that are left, in their order. The
/// words are those of OpenSSH's `readconf.c`.
macro_rules! lists {
    ($($(#[doc = $about:literal])+ $name:ident, $list:expr, $complaint:literal;)+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub Chosen);

        impl Value for $name {
            fn parse(words: &[String]) -> Result<Self, String> {
                let text = first(words);
                let wrong = |mistake| match mistake {
                    Mistake::Unknown => format!(concat!($complaint, "."), Printable(text)),
                    Mistake::NothingLeft => {
                        let why = "nothing of it can be used here";
                        format!(concat!($complaint, ": {}"), Printable(text), why)
                    }
                };
                Algorithms::parse($list, text).map(Self).map_err(wrong)
            }

            fn words(&self) -> Vec<String> {
                vec![self.0.written()]
            }
        }
    )+};
}

lists! {
    /// `Ciphers`.
    Ciphers, List::Ciphers, "Bad SSH2 cipher spec '{}'";
    /// `MACs`.
    Macs, List::Macs, "Bad SSH2 MAC spec '{}'";
    /// `KexAlgorithms`.
    Kex, List::Kex, "Bad SSH2 KexAlgorithms '{}'";
    /// `HostKeyAlgorithms`.
    HostKeys, List::HostKeys, "Bad key types '{}'";
    /// `CASignatureAlgorithms`.
    CaSignatures, List::CaSignatures, "Bad key types '{}'";
    /// `PubkeyAcceptedAlgorithms`.
    UserKeys, List::UserKeys, "Bad key types '{}'";
}

/// Bits of the smallest RSA keys that anybody may allow.
const SMALLEST_RSA: u32 = 1024;

/// `HostbasedAcceptedAlgorithms`: what it leaves of the signatures, if that is anything
/// that we know; nothing uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostbasedKeys {
    chosen: Option<Chosen>,
    written: String,
}

impl Value for HostbasedKeys {
    fn parse(words: &[String]) -> Result<Self, String> {
        let written = first(words).to_owned();
        match Algorithms::parse(List::UserKeys, &written) {
            Ok(chosen) => Ok(Self { chosen: Some(chosen), written }),
            Err(Mistake::NothingLeft) => Ok(Self { chosen: None, written }),
            Err(Mistake::Unknown) => Err(format!("Bad key types '{}'.", Printable(&written))),
        }
    }

    fn words(&self) -> Vec<String> {
        vec![self.written.clone()]
    }
}

impl Options {
    /// What `ssh -G` prints for HostbasedAcceptedAlgorithms.
    pub fn hostbased_algorithms(&self) -> String {
        let mut algorithms = Algorithms::as_ssh();
        match &self.hostbased_accepted_algorithms {
            Some(HostbasedKeys { chosen: None, written }) => return written.clone(),
            Some(HostbasedKeys { chosen: Some(chosen), .. }) => {
                algorithms.choose(List::UserKeys, chosen);
            }
            None => {}
        }
        algorithms.list(List::UserKeys).join(",")
    }

    /// What a session may use.
    pub fn algorithms(&self) -> Algorithms {
        self.changed(Algorithms::default())
    }

    /// What a session may use of those who call us `ssh`.
    pub fn algorithms_as_ssh(&self) -> Algorithms {
        self.changed(Algorithms::as_ssh())
    }

    fn changed(&self, mut algorithms: Algorithms) -> Algorithms {
        for (list, chosen) in [
            (List::Ciphers, self.ciphers.as_ref().map(|list| &list.0)),
            (List::Macs, self.macs.as_ref().map(|list| &list.0)),
            (List::Kex, self.kex_algorithms.as_ref().map(|list| &list.0)),
            (List::HostKeys, self.host_key_algorithms.as_ref().map(|list| &list.0)),
            (List::CaSignatures, self.ca_signature_algorithms.as_ref().map(|list| &list.0)),
            (List::UserKeys, self.pubkey_accepted_algorithms.as_ref().map(|list| &list.0)),
        ] {
            if let Some(chosen) = chosen {
                algorithms.choose(list, chosen);
            }
        }
        algorithms.rsa_bits = self.required_rsa_size().0.max(SMALLEST_RSA);
        algorithms.compression = self.compression();
        algorithms
    }
}
