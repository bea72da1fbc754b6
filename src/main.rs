//! Arguments in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    clan_connect::secret::guard_process();
    let env = clan_connect::env::Env::read();
    clan_connect::descriptors::close_inherited(&env);
    clan_connect::term::restore_on_panic();
    let code = clan_connect::signals::run(|| clan_connect::cli::main(std::env::args_os(), env));
    clan_connect::term::leave();
    ExitCode::from(code)
}
