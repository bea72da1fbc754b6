//! Installers: QR codes made by qrencode, and by ImageMagick what becomes of
//! them in photographs.

use crate::harness::{Account, Home, run, sshd};
use serde_json::json;

#[test]
fn an_installer_is_reached_by_its_json_and_by_its_qr_code() {
    let home = Home::new();
    let account = Account::new("ccinst");
    let server = sshd(&home, "127.0.0.1", "", "PasswordAuthentication yes");
    // The first address is refused; a bare IPv6 address, too.
    let shown = json!({
        "pass": account.password, "tor": null,
        "addrs": ["ssh://127.0.0.1:1", "::1", format!("ssh://{}", server.target())],
    });
    let shown = shown.to_string();
    let file = home.write("installer.json", &shown);
    let code = home.path("code.png");
    let text = code.to_str().unwrap();
    run("qrencode", &["-s", "8", "-r", file.to_str().unwrap(), "-o", text], "qrencode");
    // A photograph: turned, in grey, compressed.
    run(
        "convert",
        &[
            text,
            "-rotate",
            "12",
            "-blur",
            "0x1",
            "-quality",
            "60",
            home.path("photo.jpg").to_str().unwrap(),
        ],
        "imagemagick",
    );
    for source in
        [["-j", &shown], ["-j", "installer.json"], ["-P", "code.png"], ["-P", "photo.jpg"]]
    {
        let args =
            [&["-v", "ssh"], &source[..], &["-l", &account.name, "-c", "echo", "hi"]].concat();
        let done = home.run(&args).exits(0);
        assert_eq!(done.text(), "hi\n", "{source:?}");
        assert!(!done.stderr.contains(&account.password), "{}", done.stderr);
    }
}

#[test]
fn pictures_without_one_installer_say_what_is_wrong() {
    let home = Home::new();
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let code = |name: &str, text: &str| {
        run("qrencode", &["-s", "6", "-o", &path(name), text], "qrencode");
    };
    code("web.png", "https://clan.lol");
    code("a.png", "{\"addrs\": [\"192.0.2.1\"]}");
    code("b.png", "{\"addrs\": [\"192.0.2.2\"]}");
    code("options.png", "{\"addrs\": [\"ssh://root@127.0.0.1:1?ProxyCommand=touch%20pwned\"]}");
    run("convert", &["-size", "200x200", "xc:white", &path("white.png")], "imagemagick");
    run("convert", &[&path("a.png"), &path("b.png"), "+append", &path("two.png")], "imagemagick");
    run(
        "convert",
        &[&path("a.png"), "-resize", "40x40", "-blur", "0x3", &path("blurred.png")],
        "imagemagick",
    );
    home.write("text.png", "hello");
    for (image, said) in [
        ("web.png", "its QR code is not that of an installer"),
        ("white.png", "there is no QR code in it"),
        ("two.png", "it shows several installers"),
        ("blurred.png", "QR code"),
        ("text.png", "not a PNG or JPEG image"),
        ("missing.png", "cannot read missing.png"),
    ] {
        home.run(&["ssh", "-P", image, "-c", "true"]).exits(255).says(&[said]);
    }
    let done = home.run(&["ssh", "-P", "options.png", "-c", "true"]).exits(255);
    done.says(&["options of an address are ignored", "connection refused"]);
    assert!(!home.path("pwned").exists());
    home.run(&["ssh"]).exits(255);
    home.run(&["ssh", "m", "-j", "{}"]).exits(255);
}

#[test]
fn a_picture_of_nothing_but_corners_of_codes_costs_no_more_than_seconds() {
    const CORNER: [&[u8; 8]; 8] = [
        b"#######.",
        b"#.....#.",
        b"#.###.#.",
        b"#.###.#.",
        b"#.###.#.",
        b"#.....#.",
        b"#######.",
        b"........",
    ];
    // Three of them at a time may be a code.
    let (corners, scale) = (40, 3);
    let side = corners * scale * 8;
    let pixel = |at: usize| {
        let (x, y) = (at % side / scale % 8, at / side / scale % 8);
        if CORNER[y][x] == b'#' { 0 } else { 255 }
    };
    let mut picture = format!("P5 {side} {side} 255\n").into_bytes();
    picture.extend((0..side * side).map(pixel));
    let home = Home::new();
    home.write("corners.pgm", picture);
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    run("convert", &[&path("corners.pgm"), &path("corners.png")], "imagemagick");
    let began = std::time::Instant::now();
    home.run(&["ssh", "-P", "corners.png", "-c", "true"]).exits(255).says(&["QR code"]);
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    // Nor is what has no end read to it.
    home.run(&["ssh", "-P", "/dev/zero", "-c", "true"]).exits(255).says(&["/dev/zero"]);
}
