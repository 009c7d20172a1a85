//! What figures depend on.

use std::path::Path;
use std::process::Command;

/// ringloop's own folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the benches lie in a folder")
}

/// The kernel, the processor, the compiler, in one line.
pub fn describe() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = processors.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let guest = if processors.contains(" hypervisor") { ", virtual" } else { "" };
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let compiler = Command::new("rustc").arg("--version").output().ok();
    let compiler = compiler.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let compiler = compiler.split(" (").next().unwrap_or_default();
    format!("Linux {}, {count} cores ({model}{guest}), {compiler}", kernel.trim())
}

/// The memory that this process has touched and keeps, in bytes.
pub fn resident() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")?.strip_suffix("kB"));
    let kilobytes: Option<u64> = line.and_then(|number| number.trim().parse().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| std::io::Error::other("the kernel does not say"))
}

/// The version of a crate that the benches are locked to; the newest if there are several.
pub fn version_of(name: &str) -> Option<&'static str> {
    let mut packages = include_str!("../Cargo.lock").rsplit("[[package]]");
    let package = packages.find(|package| package.contains(&format!("\nname = \"{name}\"\n")))?;
    package.split("\nversion = \"").nth(1)?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender;

    #[test]
    fn the_lock_file_knows_the_contenders() {
        for of in contender::ALL.iter().filter_map(|known| known.of) {
            assert!(version_of(of).is_some_and(|version| version.contains('.')), "{of}");
        }
        assert_eq!(version_of("no such crate"), None);
    }
}
