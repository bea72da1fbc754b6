//! The options that are lists of algorithms. Owns when a list is wrong, which is
//! when it is read; which algorithms there are, `ssh::algorithms` says.

use super::Options;
use super::slot::{Value, first};
use crate::printable::Printable;
use crate::ssh::algorithms::{Algorithms, List};

/// Makes a value of what a list changes: the names that are left, in their order.
macro_rules! lists {
    ($($(#[doc = $about:literal])+ $name:ident, $list:expr, $complaint:literal;)+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub Vec<String>);

        impl Value for $name {
            fn parse(words: &[String]) -> Result<Self, String> {
                let text = first(words);
                let wrong = |why| format!(concat!($complaint, ": {}"), Printable(text), why);
                Algorithms::parse($list, text).map(Self).map_err(wrong)
            }

            fn words(&self) -> Vec<String> {
                vec![self.0.join(",")]
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
        let mut algorithms = Algorithms::default();
        for (list, names) in [
            (List::Ciphers, self.ciphers.as_ref().map(|list| &list.0)),
            (List::Macs, self.macs.as_ref().map(|list| &list.0)),
            (List::Kex, self.kex_algorithms.as_ref().map(|list| &list.0)),
            (List::HostKeys, self.host_key_algorithms.as_ref().map(|list| &list.0)),
            (List::CaSignatures, self.ca_signature_algorithms.as_ref().map(|list| &list.0)),
            (List::UserKeys, self.pubkey_accepted_algorithms.as_ref().map(|list| &list.0)),
        ] {
            if let Some(names) = names {
                algorithms.choose(list, names.clone());
            }
        }
        algorithms.rsa_bits = self.required_rsa_size().0;
        algorithms.compression = self.compression();
        algorithms
    }
}
