# shellcheck shell=bash
# The image of a plain Debian 12 machine with systemd as its init and cgroup v2 alone, in which the product is run as on
# a host of its own. The machine has no network, so the image holds all that quickstart would install.

MACHINE_SUITE=bookworm
MACHINE_DISK_MIB=8192
# In the machine: what changes with each run lies on a second disk, so that the image is made once.
MACHINE_PAYLOAD=/opt/edgestack

machine_packages() {
    printf '%s\n' linux-image-cloud-amd64 initramfs-tools zstd \
        systemd systemd-sysv udev dbus dbus-user-session libpam-systemd kmod netbase iproute2 passwd \
        qemu-system-x86 qemu-utils "${PACKAGES_SITE[@]}" "${PACKAGES_NETWORKS[@]}" nftables
}

# machine_key: changes with everything that decides the image's content.
machine_key() {
    {
        machine_packages
        cat "$DEPLOY/lib/machine_image.sh" "$DEPLOY/guest/etc/initramfs-tools/conf.d/edgestack"
    } | sha256sum | cut -c1-16
}

# machine_dir: the folder that holds disk.qcow2, vmlinuz and initrd.
machine_dir() {
    printf '%s/machines/debian-12-systemd-%s\n' "$(cache_dir)" "$(machine_key)"
}

# ensure_machine: builds the image, or finds it in the cache.
ensure_machine() {
    local dir work
    dir=$(machine_dir)
    if [ ! -d "$dir" ]; then
        mkdir -p "$(dirname "$dir")"
        # Whoever comes second waits and then finds the image; the lock ends with its holder.
        exec 9>"$(dirname "$dir")/.lock"
        flock 9
        if [ ! -d "$dir" ]; then
            # A build that was killed can't have cleaned up after itself; the lock says that none runs.
            rm -rf --one-file-system "$(dirname "$dir")"/.build.*
            work=$(mktemp --directory "$(dirname "$dir")/.build.XXXXXX")
            build_machine "$work"
            mv -T "$work/image" "$dir"
            rm -rf --one-file-system "$work"
        fi
        exec 9>&-
    fi
    note "$dir ($(du --summarize --block-size=1M -- "$dir" | cut -f1) MiB)"
}

# build_machine WORK: leaves WORK/image.
build_machine() {
    local work=$1 packages
    packages=$(machine_packages | paste --serial --delimiters=,)
    {
        apt_line "$MACHINE_SUITE" signed-by || die "this machine's apt sources have no entry for the suite $MACHINE_SUITE (component main), which the test machine is built from; add one of your Debian mirror to /etc/apt/sources.list.d"
        apt_line "$MACHINE_SUITE-updates" signed-by || true
        apt_line "$MACHINE_SUITE-security" signed-by || true
    } >"$work/build.list"
    mmdebstrap --mode=root --variant=minbase --format=directory --include="$packages" \
        --skip=cleanup/reproducible \
        --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --essential-hook="mkdir -p \"\$1/etc/initramfs-tools/conf.d\"" \
        --essential-hook="cp '$DEPLOY/guest/etc/initramfs-tools/conf.d/edgestack' \"\$1/etc/initramfs-tools/conf.d/\"" \
        "$MACHINE_SUITE" "$work/root" "$work/build.list"
    customize_machine "$work/root"
    mkdir "$work/image"
    cp "$work"/root/boot/vmlinuz-* "$work/image/vmlinuz"
    cp "$work"/root/boot/initrd.img-* "$work/image/initrd"
    truncate --size="${MACHINE_DISK_MIB}M" "$work/disk.raw"
    mke2fs -q -F -t ext4 -L machine -m 0 -E lazy_itable_init=0,lazy_journal_init=0 -d "$work/root" "$work/disk.raw"
    qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd "$work/disk.raw" "$work/image/disk.qcow2"
    sync "$work/image/disk.qcow2"
}

# customize_machine ROOT: what any installer would set, and a unit that starts the check from the payload.
customize_machine() {
    local root=$1 unit
    printf '/dev/vda / ext4 defaults 0 0\nLABEL=payload %s ext4 ro 0 0\n' "$MACHINE_PAYLOAD" >"$root/etc/fstab"
    mkdir -p "$root$MACHINE_PAYLOAD"
    printf 'edge\n' >"$root/etc/hostname"
    printf '127.0.0.1 localhost edge\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
    : >"$root/etc/machine-id"
    # The journal is kept, as a failure before a restart of the machine must be told after it.
    mkdir -p "$root/var/log/journal"
    # What would run in the machine's first minutes and has nothing to do with us.
    for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer \
        fstrim.timer; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    cat >"$root/etc/systemd/system/systemd-check.service" <<UNIT
[Unit]
Description=Check of EdgeStack under systemd
RequiresMountsFor=$MACHINE_PAYLOAD
After=multi-user.target

[Service]
# As a login shell of root has it.
Environment=HOME=/root
ExecStart=$MACHINE_PAYLOAD/deploy/lib/systemd_check
StandardOutput=journal

[Install]
WantedBy=multi-user.target
UNIT
    chroot "$root" systemctl enable systemd-check.service
    # As where quickstart has installed them.
    chroot "$root" systemctl disable openvswitch-switch.service ovn-central.service ovn-host.service
}
