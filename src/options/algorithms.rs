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

impl Options {
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
        algorithms.rsa_bits = self.required_rsa_size().0;
        algorithms.compression = self.compression();
        algorithms
    }
}
