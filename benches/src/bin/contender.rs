//! `contender NAME WORKLOAD`: does one workload with one contender and prints what it cost; see `session`.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};

use ringloop_benches::contender::{self, Contender};
use ringloop_benches::meter::Meter;
use ringloop_benches::session::{Core, Done, answer, settle};
use ringloop_benches::{Reads, Workload};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, workload] = &arguments[..] else { return Err("usage: contender NAME WORKLOAD".into()) };
    let contender: &'static dyn Contender =
        contender::named(name).ok_or_else(|| format!("no contender '{name}'"))?;
    let workload: Workload = serde_json::from_str(workload)?;
    settle(Core::First);
    let meter = Meter::new(workload.span(), || contender.counters());
    let ended = match workload {
        Workload::Echo(echo) => contender.echo(echo, listen, meter),
        Workload::Reads(reads) => {
            let reads: &'static Reads = Box::leak(Box::new(reads));
            contender.reads(reads, meter)
        }
    };
    answer(&match ended {
        Err(error) if error.kind() == ErrorKind::Unsupported => Done::Cannot(error.to_string()),
        ended => {
            ended?;
            Done::Cost(meter.cost().ok_or("the work ended before all was done that counts")?)
        }
    });
    Ok(())
}

fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    answer(&listener.local_addr()?.to_string());
    Ok(listener)
}
