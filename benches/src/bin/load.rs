//! `load ADDRESS ORDER`: the other end of a server; see `session`.

use std::error::Error;

use ringloop_benches::contender::Order;
use ringloop_benches::load::generate;
use ringloop_benches::session::{Core, say, settle};
use ringloop_benches::workload::{self, Work};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, order] = &arguments[..] else { return Err("usage: load ADDRESS ORDER".into()) };
    let order: Order = serde_json::from_str(order)?;
    settle(Core::Second);
    match workload::named(&order.workload).map(|workload| workload.work) {
        Some(Work::Net(work)) => say(&generate(work, address.parse()?)?),
        _ => return Err(format!("'{}' has no load", order.workload).into()),
    }
    Ok(())
}
