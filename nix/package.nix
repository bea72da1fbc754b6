# This package builds the program with nixpkgs, as one file that needs no other. It takes the
# crates in vendor/ from this repository, and all other crates by the checksums in the
# committed Cargo.lock.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
}:
let
  manifest = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).package;
  runs = stdenv.buildPlatform.canExecute stdenv.hostPlatform;
in
rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;

  # Only the files that cargo reads: a change of the documents then causes no new build. Of the
  # tests, cargo needs the file that the manifest names.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../.cargo
      ../Cargo.lock
      ../Cargo.toml
      ../build
      ../build.rs
      ../src
      ../vendor
      ../vendor-tests/main.rs
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [ "--bin=clan-connect" ];

  # .cargo/config.toml links the C library statically. nixpkgs keeps the static archives of
  # glibc in an output of their own. Other C libraries, as in pkgsStatic, need no such input.
  buildInputs = lib.optional (stdenv.hostPlatform.libc == "glibc") (stdenv.cc.libc.static or null);

  nativeBuildInputs = [ installShellFiles ];

  # The tests talk to real servers, in network namespaces and as other users. The sandbox of a
  # build has neither.
  doCheck = false;

  # This check makes sure that the program is static and that it starts.
  doInstallCheck = runs;
  installCheckPhase = ''
    runHook preInstallCheck
    if ''${READELF:-readelf} --program-headers $out/bin/clan-connect | grep INTERP; then
      echo "clan-connect needs a loader: it is not static" >&2
      exit 1
    fi
    $out/bin/clan-connect --version
    runHook postInstallCheck
  '';

  postInstall = lib.optionalString runs ''
    installShellCompletion --cmd clan-connect \
      --bash <($out/bin/clan-connect completions bash) \
      --zsh <($out/bin/clan-connect completions zsh) \
      --fish <($out/bin/clan-connect completions fish)
    # The manual page of a command names the pages of its subcommands.
    installPages() {
      local page=$1 word
      shift
      $out/bin/clan-connect man "$@" > "$page.1"
      installManPage "$page.1"
      for word in $(sed 's/\\-/-/g' "$page.1" | sed -n "s/^$page-\([a-z-]*\)(1)$/\1/p"); do
        installPages "$page-$word" "$@" "$word"
      done
    }
    installPages clan-connect
  '';

  meta = {
    inherit (manifest) description;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = "clan-connect";
    platforms = lib.platforms.linux;
  };
}
