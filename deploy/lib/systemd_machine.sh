# shellcheck shell=bash
# Runs the machine of machine_image.sh: QEMU with the image's disk, thrown away afterwards, and a payload.

MACHINE_MEMORY_MIB=3072
# It takes some minutes without KVM; a host with other things to do takes longer.
MACHINE_DEADLINE_S=2400

# machine_cannot_be_made: true where it can't, and why.
machine_cannot_be_made() {
    if ! is_root; then
        printf "the machine's disk has files of many users, which only root can make\n"
    elif [ "$(uname --machine)" != x86_64 ]; then
        printf 'the machine is x86_64, and this one is not\n'
    elif ! command -v qemu-system-x86_64 >/dev/null && ! command -v apt-get >/dev/null; then
        printf 'there is no qemu-system-x86_64 and no apt-get to install it with\n'
    else
        return 1
    fi
}

# make_payload FILE BINARIES NATS_SERVER: the second disk: the checkout's deploy folder, the binaries, nats-server.
make_payload() {
    local file=$1 binaries=$2 nats=$3 root name
    root=$(mktemp --directory "$(dirname "$file")/payload.XXXXXX")
    cp --recursive "$DEPLOY" "$root/deploy"
    mkdir "$root/bin"
    for name in edgestackd edgectl; do
        # Without what debuggers read, which is most of a dev build.
        strip -o "$root/bin/$name" "$binaries/$name"
    done
    cp --dereference "$nats" "$root/bin/nats-server"
    chmod --recursive u=rwX,go=rX "$root"
    truncate --size="$(($(du --summarize --block-size=1M "$root" | cut -f1) * 5 / 4 + 32))M" "$file"
    mke2fs -q -F -t ext4 -L payload -m 0 -d "$root" "$file"
    rm -rf --one-file-system "$root"
}

# run_machine FOLDER: boots the machine with FOLDER/payload.raw until it powers itself off; its report comes to
# FOLDER/report, its console to FOLDER/console.
run_machine() {
    local folder=$1 dir accelerator
    dir=$(machine_dir)
    mapfile -t accelerator < <(machine_accelerator)
    qemu-img create -q -f qcow2 -F qcow2 -b "$dir/disk.qcow2" "$folder/disk.qcow2"
    # Writes to the disk needn't be synced: the machine is thrown away.
    exec timeout --kill-after=10 "$MACHINE_DEADLINE_S" qemu-system-x86_64 \
        -name edgestack-systemd-check -nodefaults -no-user-config -display none -nic none \
        -machine q35 "${accelerator[@]}" -smp 2 -m "$MACHINE_MEMORY_MIB" \
        -kernel "$dir/vmlinuz" -initrd "$dir/initrd" \
        -append "root=/dev/vda rw console=ttyS0 systemd.show_status=1 panic=-1" \
        -drive "file=$folder/disk.qcow2,format=qcow2,if=virtio,cache=unsafe" \
        -drive "file=$folder/payload.raw,format=raw,if=virtio,readonly=on" \
        -device virtio-rng-pci \
        -serial "file:$folder/console" -serial "file:$folder/report"
}

# machine_accelerator: QEMU's options. KVM only where it truly runs a guest: a kernel without a root file system panics
# within seconds and, as told, QEMU ends then.
machine_accelerator() {
    local said
    if [ -w /dev/kvm ] && said=$(timeout --kill-after=1 10 qemu-system-x86_64 -nodefaults -no-user-config -display none \
        -machine q35 -accel kvm -cpu host -m 512 -no-reboot -kernel "$(machine_dir)/vmlinuz" \
        -append "console=ttyS0 panic=-1" -serial stdio 2>&1 </dev/null) && [[ $said == *"Kernel panic"* ]]; then
        printf '%s\n' -accel kvm -cpu host
    else
        # Without SVM, which TCG would emulate: VMs in the machine are then TCG's too.
        printf '%s\n' -accel tcg,thread=multi,tb-size=512 -cpu max,-svm
    fi
}
