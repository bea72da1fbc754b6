//! QR codes in images, read in this process. Owns the bounds on a file and on the time;
//! what the codes say is the parent's business.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::picture::Picture;
use crate::error::{Error, Result};
use crate::file;
use crate::secret::Secret;

/// No photo of a screen is larger, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// How long a code may be looked for: that takes longer the more of its corners there
/// seem to be, and a picture of a few kilobytes can have thousands.
const DEADLINE: Duration = Duration::from_secs(10);

/// The one code in the image at `path` that is JSON; others may be beside it.
///
/// # Errors
/// [`Error::File`], [`Error::TooLarge`], and [`Error::Installer`] when there is
/// no such code, or more than one.
pub fn read(path: &Path) -> Result<Secret<String>> {
    let origin = path.display().to_string();
    let wrong = |reason: String| Error::Installer { origin: origin.clone(), reason };
    let bytes = file::read_named(path, MAX_FILE)?;
    let picture = Picture::decode(&bytes)
        .ok_or_else(|| wrong("not a PNG or JPEG image, or a damaged one".to_owned()))?;
    let (tell, told) = mpsc::channel();
    // Left behind when it takes too long: this process ends with the error.
    std::thread::spawn(move || tell.send(codes(&picture)));
    let (found, texts) = told.recv_timeout(DEADLINE).map_err(|_| {
        wrong("it takes too long to find a QR code in it; picture nothing but the code".to_owned())
    })?;
    let decoded = texts.len();
    let mut texts: Vec<String> =
        texts.into_iter().filter(|text| text.trim_start().starts_with('{')).collect();
    texts.sort();
    texts.dedup();
    match (found, decoded, texts.pop()) {
        (_, _, Some(text)) if texts.is_empty() => Ok(Secret::new(text)),
        (_, _, Some(_)) => Err(wrong("it shows several installers".to_owned())),
        (0, _, None) => Err(wrong("there is no QR code in it".to_owned())),
        (_, 0, None) => Err(wrong("its QR code cannot be read; take a sharper picture".to_owned())),
        (_, _, None) => Err(wrong("its QR code is not that of an installer".to_owned())),
    }
}

/// How many codes there are, and what those say that can be read.
fn codes(picture: &Picture) -> (usize, Vec<String>) {
    let Picture { width, height, pixels } = picture;
    let (width, height) = (*width, *height);
    let light = |x: usize, y: usize| pixels.get(y * width + x).copied().unwrap_or(u8::MAX);
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, light);
    let grids = prepared.detect_grids();
    let found = grids.len();
    (found, grids.into_iter().filter_map(|grid| Some(grid.decode().ok()?.1)).collect())
}
