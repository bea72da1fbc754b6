# The program, built from the committed lock file: one file that needs no other. Owns how it
# is built on nixpkgs; takes the crates in vendor/ as they lie here, and everything else by
# the checksums of Cargo.lock.
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

  # What cargo looks at, so that a change of the documents builds nothing. Of the tests it
  # looks for the file that the manifest names.
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

  # .cargo/config.toml links the C library into the program: nixpkgs keeps the archives for
  # that apart. With another C library, as in pkgsStatic, that is so without asking.
  buildInputs = lib.optional (stdenv.hostPlatform.libc == "glibc") (stdenv.cc.libc.static or null);

  nativeBuildInputs = [ installShellFiles ];

  # They talk to real servers, in network namespaces, as other users: no sandbox has those.
  doCheck = false;

  # A program that is static, and starts.
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
    # The page on a command names those of its own commands.
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
