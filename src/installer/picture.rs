//! PNG and JPEG images as shades of grey. Owns the bounds on images; knows no QR codes.

use std::io::Cursor;

use png::{Decoder, Limits, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// No photo of a screen has more columns or rows.
const MAX_SIDE: usize = 12_000;
/// Bound on the memory of a decoded image, in bytes.
const MAX_MEMORY: usize = 256 << 20;
/// Bytes of a pixel with a colour.
const RGB: usize = 3;
/// What each colour adds to the light, in 10,000ths (ITU-R BT.709).
const LIGHT: [u32; RGB] = [2126, 7152, 722];

/// An image, row by row.
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// 0 is black.
    pub(super) pixels: Vec<u8>,
}

impl Picture {
    /// The image in the bytes of a file; `None` if it is another format, damaged, or too
    /// large.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => png(bytes),
            [0xff, 0xd8, ..] => jpeg(bytes),
            _ => None,
        }
    }

    /// `channels` bytes a pixel: its light, or its colours, and perhaps its opacity.
    fn of(width: usize, height: usize, pixels: Vec<u8>, channels: usize) -> Self {
        let pixels = match channels {
            1 => pixels,
            2 => pixels.into_iter().step_by(2).collect(),
            _ => pixels.chunks_exact(channels).map(light).collect(),
        };
        Self { width, height, pixels }
    }
}

/// How light a pixel with a colour is.
fn light(pixel: &[u8]) -> u8 {
    let sum: u32 = pixel.iter().zip(LIGHT).map(|(part, weight)| u32::from(*part) * weight).sum();
    u8::try_from(sum / 10_000).unwrap_or(u8::MAX)
}

fn png(bytes: &[u8]) -> Option<Picture> {
    let limits = Limits { bytes: MAX_MEMORY };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().ok()?;
    let (width, height) = reader.info().size();
    let (width, height) = (usize::try_from(width).ok()?, usize::try_from(height).ok()?);
    let size = reader.output_buffer_size().filter(|size| *size <= MAX_MEMORY)?;
    if width.max(height) > MAX_SIDE {
        return None;
    }
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).ok()?;
    Some(Picture::of(width, height, pixels, frame.color_type.samples()))
}

fn jpeg(bytes: &[u8]) -> Option<Picture> {
    let options = DecoderOptions::default().set_max_width(MAX_SIDE).set_max_height(MAX_SIDE);
    let mut decoder =
        JpegDecoder::new_with_options(ZCursor::new(bytes), options.set_strict_mode(false));
    decoder.decode_headers().ok()?;
    let (width, height) = decoder.dimensions()?;
    // What is decoded in several passes is kept whole, with every colour.
    if width.checked_mul(height)?.checked_mul(RGB)? > MAX_MEMORY {
        return None;
    }
    let (colours, channels) = match decoder.input_colorspace()? {
        ColorSpace::Luma | ColorSpace::YCbCr => (ColorSpace::Luma, 1),
        _ => (ColorSpace::RGB, RGB),
    };
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(colours));
    let pixels = decoder.decode().ok()?;
    Some(Picture::of(width, height, pixels, channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of two pixels, white and blue.
    fn encoded(color: png::ColorType, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        bytes
    }

    #[test]
    fn colours_are_as_light_as_they_look_and_opacity_is_nothing() {
        for (color, pixels) in [
            (png::ColorType::Rgb, &[255, 255, 255, 0, 0, 255][..]),
            (png::ColorType::Rgba, &[255, 255, 255, 0, 0, 0, 255, 9]),
            (png::ColorType::Grayscale, &[255, 18]),
            (png::ColorType::GrayscaleAlpha, &[255, 7, 18, 7]),
        ] {
            let picture = Picture::decode(&encoded(color, pixels)).unwrap();
            assert_eq!((picture.width, picture.height), (2, 1));
            assert_eq!(picture.pixels, [255, 18], "{color:?}");
        }
    }

    #[test]
    fn what_claims_to_be_too_large_or_is_cut_off_is_no_picture() {
        let good = encoded(png::ColorType::Grayscale, &[1, 2]);
        assert!(Picture::decode(&good).is_some());
        assert!(Picture::decode(&good[..good.len() / 2]).is_none());
        // Its width, and the sum that covers it.
        let mut wide = Vec::new();
        png::Encoder::new(&mut wide, 12_001, 1).write_header().unwrap();
        assert!(Picture::decode(&wide).is_none());
        assert!(Picture::decode(b"\xff\xd8\xff\xe0 and no more").is_none());
        assert!(Picture::decode(b"GIF89a").is_none());
        assert!(Picture::decode(b"").is_none());
    }
}
