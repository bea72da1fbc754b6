//! Our client and Dropbear's server, the one of routers and rescue systems.

use crate::harness::{Account, Home, Terminal, dropbear, noise, run};

#[test]
fn dropbear_runs_commands_takes_data_and_asks_passwords() {
    println!("{}", run("dropbear", &["-V"], "dropbear-bin"));
    let account = Account::new("ccdb");
    let home = Home::new();
    account.authorize(&home.default_key());
    let server = dropbear(&home, &[]);
    let target = server.target();
    let to = ["ssh", "m", "--target-host", &target, "-l", &account.name];
    let ssh = |args: &[&str]| home.run(&[&to, args].concat());

    assert_eq!(ssh(&["-c", "echo", "a  b"]).exits(0).text(), "a  b\n");
    ssh(&["-c", "sh", "-c", "exit 42"]).exits(42);
    ssh(&["-c", "sh", "-c", "kill -TERM $$"]).exits(143);
    let data = noise(16 << 20);
    let args = [&to[..], &["-c", "cat"]].concat();
    let done = home.run_with_input(&args, data.clone()).exits(0);
    assert!(done.stdout == data, "{} bytes came back", done.stdout.len());

    // Without a key it asks.
    let other = Home::new();
    let args = [&to[..], &["-t", "-c", "echo", "hello"]].concat();
    let mut terminal = Terminal::start(&other, &args, 80, 24, &[]);
    terminal.expect("'s password:");
    terminal.send(&format!("{}\r", account.password));
    terminal.expect("hello");
    assert_eq!(terminal.exit_code(), Some(0));
}
