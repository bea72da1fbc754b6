//! Asks the DNS for fingerprints of host keys, and believes only what DNSSEC
//! proves from the root on. Owns a resolver of its own for that.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::direct;
use crate::sshfp::Sshfp;

/// Bound on all questions together: keys, signatures and delegations.
const DEADLINE: Duration = Duration::from_secs(5);
/// More than any host has.
const MAX_RECORDS: usize = 32;

/// The proved records of `host`, which must be a name; none when they cannot be
/// proved. `anchor` is a file with the keys of another root than the internet's.
pub(super) async fn lookup(host: &str, anchor: Option<&Path>) -> Vec<Sshfp> {
    let Some((config, mut options)) = direct::system_config() else { return Vec::new() };
    options.validate = true;
    let mut builder =
        TokioResolver::builder_with_config(config, Default::default()).with_options(options);
    if let Some(anchor) = anchor {
        // A small file, read once; without it nothing is proved.
        let Ok(anchors) = TrustAnchors::from_file(anchor) else { return Vec::new() };
        builder = builder.with_trust_anchor(Arc::new(anchors));
    }
    let Ok(resolver) = builder.build() else { return Vec::new() };
    let asking = resolver.lookup(host, RecordType::SSHFP);
    let Ok(Ok(found)) = tokio::time::timeout(DEADLINE, asking).await else { return Vec::new() };
    let proved = found.answers().iter().filter(|record| record.proof.is_secure());
    let records = proved.filter_map(|record| match &record.data {
        RData::SSHFP(sshfp) => Some(Sshfp {
            algorithm: sshfp.algorithm.into(),
            hash: sshfp.fingerprint_type.into(),
            fingerprint: sshfp.fingerprint.clone(),
        }),
        _ => None,
    });
    records.take(MAX_RECORDS).collect()
}
