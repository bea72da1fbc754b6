//! Public keys for tests, made with OpenSSH 9.2's ssh-keygen; those of security
//! keys (`sk-`) by hand after OpenSSH's PROTOCOL.u2f.

pub(crate) const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBL4VKagXZMC4tJ5ofeMqABhB1J3gL9KtbX4XXJp+8Dh";

pub(crate) const OTHER_ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHa/bq+2Ur9tXf5QRQJtXTZgvTiw7gHML2gt4hgx1yU0";

pub(crate) const ECDSA256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBG01OmU72mwvVfLUerNnjhVLD9r5RQ5ygP+9TygkgyEmdJ/0+8HQuCleqXMQGKGjENmnpld8PJsWIInZHKPOQkA=";

pub(crate) const ECDSA384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBK+WcKiHJAlvsTP60iM/lw+qsZBBIo2CBelwWaADjih1/ndad63Vr9VSN5jSZOJsoxqWe0RpBMSR7qR7y5voAOOj77QZItq6hP6f/cA1xFK63xpOyIMIwQ5Pj50AsSS8tw==";

pub(crate) const ECDSA521: &str = "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAFhuYnNRVoxiHDmKVscDaqWzf9IsyHpoVsEZmRZdm5MdP+3WIIqWcSvGGlAlAR7ssCG0UnP8GtjP+HyAWvsVEfmhgD7V6qI9Q3Jew7Tuvyb086ltV0DsM6MVTms7Zq6IBtJeOAHM5xbYOzwAisg+YTBxUYRUUk+RryQUijUG6ZIpn2kjA==";

pub(crate) const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC0ApYsZBUCEeJhmAbLolg5pcRVqqJsG5zwYC4vV/EtT4BpSWbm/VSdaldMgr1oMDlRrPROWZlOnW70shS44iOtf1K8kgwCcT+Zgx/opcTCxONntTqvUphHNWCwkJJXfVauJT/oZAYpoLGBGtPeeWA0bY6gnPIDzEtuW6Xr3UATXw==";

pub(crate) const DSA: &str = "ssh-dss AAAAB3NzaC1kc3MAAACBAMN/1jOBiql2HiaWydwE6xjQLVypqzoNK6uzINrsGe8JqwdobUTEj3oI1TQxbz0aEc5xzQOyx82vcOqN+NYrhn98VnfBLcaNyfi4ZReoCPhTxGyTBww8vf8jTKi7gq9ki1hwQU2ImWc6Hs4jkVK7wHkX8KzVmumVg6T6um/YuMZFAAAAFQDMv6kAosbokpPooBcZVIIISDMPBQAAAIAy3f+8fbGmeDf9GG2+8fsEuWLdewHY7f7uFH0mAfY9hMQnPLBZBtdv10MtIVMIyy6dkz+HvH3LQsy/rhWkMnfCBvkTPNCA03xd3DT08+iiY3iOOj1rmRRpxKH6zDbDT6IUG3KvjWVSSjIdqu80L1hXfTzYvHf/JAf8iF9id4O8wgAAAIAT7uupFfTv6rW/q3ajU++B9VqKq0h1SEKEoCzhtDl6L+osvVUsO8YWBtMXIubc71ZWZcWMfO1b6L7pOyCItGRjNPX58K6o8ReO0t6EE08lvb6jMJAaJdoh7VKbO9j8usm+Mq3AOu538LOoVD/Z1oN7r7Oz4Ax0wFqr7zOEL9de8w==";

pub(crate) const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAABHNzaDo=";

pub(crate) const SK_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBG01OmU72mwvVfLUerNnjhVLD9r5RQ5ygP+9TygkgyEmdJ/0+8HQuCleqXMQGKGjENmnpld8PJsWIInZHKPOQkAAAAAEc3NoOg==";

/// The key of one of these lines.
pub(crate) fn key(line: &str) -> russh::keys::PublicKey {
    line.parse().unwrap()
}
