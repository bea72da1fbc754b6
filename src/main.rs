//! Arguments in, exit status out.

fn main() -> std::process::ExitCode {
    clan_connect::main()
}
