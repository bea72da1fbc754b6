//! One encrypted value, `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]` (sops,
//! `aes/cipher.go`). Owns its parsing, its decryption and its types.

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256;
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// 32 bytes, not GCM's usual 12.
type Cipher = aes_gcm::AesGcm<Aes256, U32>;

/// What a value was before encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Bytes,
    Time,
}

/// A decrypted or never encrypted leaf.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) kind: Kind,
    /// In the spelling that the MAC is made of (sops, `ToBytes`).
    pub(super) bytes: Secret<Vec<u8>>,
}

/// The data key of one file, ready for use.
pub(super) struct DataKey(Cipher);

impl DataKey {
    /// # Errors
    /// When `key` is not 32 bytes long.
    pub(super) fn new(key: &[u8]) -> Result<Self, String> {
        let key = <&Array<u8, U32>>::try_from(key)
            .map_err(|_| "its data key is not 32 bytes long".to_owned())?;
        Ok(Self(Cipher::new(key)))
    }

    /// Decrypts `text`; `path` is the authenticated place of the value.
    ///
    /// # Errors
    /// What is wrong, never with any plaintext.
    pub(super) fn decrypt(&self, text: &str, path: &str) -> Result<Leaf, String> {
        // An empty string stays what it is; the MAC covers it.
        if text.is_empty() {
            return Ok(Leaf { kind: Kind::Text, bytes: Secret::new(Vec::new()) });
        }
        let sealed = Sealed::parse(text).ok_or("it is not in the form ENC[AES256_GCM,…]")?;
        let mut buffer = Zeroizing::new(sealed.data);
        let iv =
            Array::try_from(sealed.iv.as_slice()).map_err(|_| "its iv is not 32 bytes long")?;
        let tag =
            Array::try_from(sealed.tag.as_slice()).map_err(|_| "its tag is not 16 bytes long")?;
        self.0
            .decrypt_inout_detached(&iv, path.as_bytes(), buffer.as_mut_slice().into(), &tag)
            .map_err(|_| "it was tampered with, or moved")?;
        let (kind, bytes) = canonical(sealed.kind, buffer)?;
        Ok(Leaf { kind, bytes: Secret::new(bytes) })
    }
}

/// The parts of an encrypted value.
struct Sealed<'a> {
    data: Vec<u8>,
    iv: Vec<u8>,
    tag: Vec<u8>,
    kind: &'a str,
}

impl<'a> Sealed<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        // Base64 has no comma.
        let mut fields = inner.split(',');
        let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix(':');
        let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let (data, iv, tag) = (field("data")?, field("iv")?, field("tag")?);
        let kind = field("type")?;
        if fields.next().is_some() {
            return None;
        }
        Some(Self { data: decode(data)?, iv: decode(iv)?, tag: decode(tag)?, kind })
    }
}

/// The type, and the bytes as sops would write them again.
fn canonical(kind: &str, mut bytes: Zeroizing<Vec<u8>>) -> Result<(Kind, Vec<u8>), String> {
    let bytes = std::mem::take(&mut *bytes);
    let text = || std::str::from_utf8(&bytes).unwrap_or_default();
    let kind = match kind {
        // A comment in the place of a value counts as its text.
        "str" | "comment" => Kind::Text,
        "bytes" => Kind::Bytes,
        "time" => Kind::Time,
        "int" => {
            let value: i64 = text().parse().map_err(|_| "it is no integer")?;
            return Ok((Kind::Int, value.to_string().into_bytes()));
        }
        "float" => {
            let value: f64 = text().parse().map_err(|_| "it is no number")?;
            return Ok((Kind::Float, float(value).into_bytes()));
        }
        // What Go's strconv.ParseBool takes; Python wrote `True`.
        "bool" => match text() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => return Ok((Kind::Bool, b"True".into())),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => {
                return Ok((Kind::Bool, b"False".into()));
            }
            _ => return Err("it is no boolean".to_owned()),
        },
        _ => return Err("its type is unknown".to_owned()),
    };
    Ok((kind, bytes))
}

/// As Go's `FormatFloat(value, 'f', -1, 64)`: shortest, never an exponent.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}
