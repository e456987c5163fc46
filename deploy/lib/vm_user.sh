# shellcheck shell=bash
# The user that QEMU runs as.

# ensure_vm_user: QEMU processes of a root daemon run as this user, who owns nothing else.
ensure_vm_user() {
    if ! getent passwd edgestack-vm >/dev/null; then
        useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin edgestack-vm
    fi
    if getent group kvm >/dev/null && [[ " $(id --name --groups edgestack-vm) " != *" kvm "* ]]; then
        usermod --append --groups kvm edgestack-vm
    fi
}
