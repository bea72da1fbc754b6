//! Hosts that are vars and lie in the document itself: public ones as they are, secret ones
//! encrypted. Whether they can be opened is `vars`' business.

use super::VarRef;

/// The values of hosts that a document has itself.
#[derive(Debug, Clone, Default)]
pub struct KeptHosts {
    /// Public ones.
    pub public: Vec<(VarRef, String)>,
    /// Secret ones, for whoever has a key.
    pub sealed: Vec<SealedHosts>,
}

/// Secret hosts in one age file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedHosts {
    /// Whom they are for: a machine, or whoever has the private half of this public key.
    pub whose: String,
    /// The public keys that it says they are encrypted for.
    pub recipients: Vec<String>,
    /// The file, in armor.
    pub text: String,
}
