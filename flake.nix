{
  description = "clan ssh in one static binary: reach a Clan machine over the best network and speak SSH on that stream";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { nixpkgs, ... }:
    let
      each = nixpkgs.lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
    in
    {
      packages = each (
        system:
        let
          clan-connect = nixpkgs.legacyPackages.${system}.callPackage ./nix/package.nix { };
        in
        {
          inherit clan-connect;
          default = clan-connect;
        }
      );

      overlays.default = final: _: {
        clan-connect = final.callPackage ./nix/package.nix { };
      };

      nixosModules.default = ./nix/module.nix;

      clan.modules.clan-connect = ./nix/service.nix;

      # A snapshot of a clan as a value, and its text.
      lib = {
        snapshot = import ./nix/snapshot.nix { inherit (nixpkgs) lib; };
        snapshotText = (import ./nix/json.nix { inherit (nixpkgs) lib; }).snapshot;
      };
    };
}
