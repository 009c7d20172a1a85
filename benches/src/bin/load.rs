//! `load ADDRESS ECHO`: the load generator of an echo; see `session`.

use std::error::Error;

use ringloop_benches::load::generate;
use ringloop_benches::session::{Core, answer, settle};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, echo] = &arguments[..] else { return Err("usage: load ADDRESS ECHO".into()) };
    settle(Core::Second);
    answer(&generate(serde_json::from_str(echo)?, address.parse()?)?);
    Ok(())
}
