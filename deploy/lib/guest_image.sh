# shellcheck shell=bash
# Debian 12 guest image from Debian's own packages.

GUEST_SUITE=bookworm
GUEST_PACKAGES=(
    linux-image-cloud-amd64 initramfs-tools zstd grub2-common grub-pc-bin grub-efi-amd64-bin
    systemd systemd-sysv systemd-resolved libnss-resolve udev dbus kmod procps netbase
    cloud-init cloud-guest-utils fdisk e2fsprogs qemu-guest-agent
    openssh-server sudo ca-certificates iproute2 iputils-ping less
)

# guest_image_key: changes with everything that decides the image's content, so that a changed
# builder never hands out an image of the old one.
guest_image_key() {
    (
        cd "$DEPLOY" || exit
        {
            printf '%s\n' "$GUEST_SUITE"
            find guest lib/guest_* -type f -print0 | sort --zero-terminated | xargs -0 sha256sum
        } | sha256sum | cut -c1-16
    )
}

guest_image_path() {
    printf '%s/images/debian-12-%s.qcow2\n' "$(cache_dir)" "$(guest_image_key)"
}

# guest_sources OPTIONS: the guest's apt sources, of the machine's own mirror.
guest_sources() {
    apt_line "$GUEST_SUITE" "$1" || die "this machine's apt sources have no entry for the suite $GUEST_SUITE (component main), which the guest image is built from; add one of your Debian mirror to /etc/apt/sources.list.d"
    apt_line "$GUEST_SUITE-updates" "$1" || true
    apt_line "$GUEST_SUITE-security" "$1" || true
}

# build_guest_image OUTPUT: builds in a temporary folder beside OUTPUT and moves into place.
build_guest_image() {
    local output=$1 work root_uuid key
    work=$(mktemp --directory "$(dirname "$output")/.build.XXXXXX")
    # shellcheck disable=SC2064 # The folder of now is meant.
    trap "rm -rf --one-file-system '$work'" EXIT
    key=$(printf '%s' "$(guest_image_key)" | sha256sum)
    root_uuid="${key:0:8}-${key:8:4}-4${key:13:3}-8${key:17:3}-${key:20:12}"
    guest_sources signed-by >"$work/build.list"
    guest_sources plain >"$work/sources.list"

    mmdebstrap --mode=root --variant=minbase --format=directory \
        --include="$(IFS=,; printf '%s' "${GUEST_PACKAGES[*]}")" \
        --skip=cleanup/reproducible \
        --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
        --dpkgopt='path-exclude=/usr/lib/grub/*/monolithic/*' \
        --essential-hook="mkdir -p \"\$1/etc/initramfs-tools/conf.d\"" \
        --essential-hook="cp '$DEPLOY/guest/etc/initramfs-tools/conf.d/edgestack' \"\$1/etc/initramfs-tools/conf.d/\"" \
        --customize-hook="'$DEPLOY/lib/guest_customize' \"\$1\" '$root_uuid' '$work/sources.list'" \
        "$GUEST_SUITE" "$work/root" "$work/build.list"
    make_disk "$work/root" "$root_uuid" "$work/disk.raw"
    qemu-img convert -f raw -O qcow2 -c -o "compression_type=${GUEST_COMPRESSION:-zstd}" "$work/disk.raw" "$work/disk.qcow2"
    qemu-img check -q "$work/disk.qcow2"
    chmod 0644 "$work/disk.qcow2"
    sync "$work/disk.qcow2"
    mv -f "$work/disk.qcow2" "$output"
    rm -rf --one-file-system "$work"
    trap - EXIT
}
