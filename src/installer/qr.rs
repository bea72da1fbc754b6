//! QR codes in PNG and JPEG images, read in this process. Owns the bounds on
//! images; what the codes say is the parent's business.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageReader, Limits};

use crate::error::{Error, Result};
use crate::secret::Secret;

/// No photo of a screen is larger, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// Nor has it more columns or rows.
const MAX_SIDE: u32 = 12_000;
/// Bound on the memory of a decoded image, in bytes.
const MAX_MEMORY: u64 = 1 << 30;

/// The one code in the image at `path` that is JSON; others may be beside it.
///
/// # Errors
/// [`Error::File`], [`Error::TooLarge`], and [`Error::Installer`] when there is
/// no such code, or more than one.
pub fn read(path: &Path) -> Result<Secret<String>> {
    let origin = path.display().to_string();
    let wrong = |reason: String| Error::Installer { origin: origin.clone(), reason };
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(Error::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    let bytes = fs::read(path).map_err(failed)?;
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(failed)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let image = reader
        .decode()
        .map_err(|_| wrong("not a PNG or JPEG image, or a damaged one".to_owned()))?
        .into_luma8();
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = image.into_raw();
    let light = |x: usize, y: usize| pixels.get(y * width + x).copied().unwrap_or(u8::MAX);
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, light);
    let grids = prepared.detect_grids();
    let found = grids.len();
    let mut texts: Vec<String> =
        grids.into_iter().filter_map(|grid| Some(grid.decode().ok()?.1)).collect();
    let decoded = texts.len();
    texts.retain(|text| text.trim_start().starts_with('{'));
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
