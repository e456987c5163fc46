//! The end of a site when even this test was killed.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Waits for the end of its input, then kills what has a path below the folder among its arguments, and removes it and the
/// network namespaces that are named after it.
const SCRIPT: &str = r#"
read -r _
folder=$1
for _ in 1 2 3; do
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" = "$$" ] && continue
        if tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep --quiet --fixed-strings "$folder/"; then
            kill -9 "$pid" 2>/dev/null
        fi
    done
done
grep --fixed-strings " $folder/" /proc/mounts | cut --delimiter=' ' --fields=2 | while read -r mounted; do
    umount --lazy "$mounted"
done
ip netns list 2>/dev/null | cut --delimiter=' ' --fields=1 | grep --fixed-strings "${folder##*/}-" | while read -r namespace; do
    ip netns delete "$namespace"
done
rm -rf "$folder"
"#;

/// A shell that outlives this process by a moment: its input ends with us, at SIGKILL too.
#[derive(Debug)]
pub(crate) struct Spare {
    child: Child,
    input: Option<ChildStdin>,
}

impl Spare {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(SCRIPT)
            .arg("edgestack-e2e-end")
            .arg(folder)
            // A test runner that ends a test's group must leave this one.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let input = child.stdin.take();
        Self { child, input }
    }

    /// Lets it do its work and waits for it.
    pub(crate) fn run(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
