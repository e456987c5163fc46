# shellcheck shell=bash
# A bootable disk from a root directory, with no loop device, no mount and no kernel module.
#
# Layout (GPT): 14 BIOS boot partition, 15 EFI system partition, 1 root; root is last on the disk
# so that growpart can grow it, and numbered as in Debian's own cloud images.

DISK_MIB=2048
BIOS_START_MIB=1
EFI_START_MIB=2
EFI_MIB=16
ROOT_START_MIB=18
# The last MiB holds the second copy of the partition table.
ROOT_MIB=$((DISK_MIB - ROOT_START_MIB - 1))

# make_disk ROOT ROOT_UUID RAW
make_disk() {
    local root=$1 root_uuid=$2 raw=$3
    truncate --size="${DISK_MIB}M" "$raw"
    sfdisk --quiet "$raw" <<LAYOUT
label: gpt
14: start=${BIOS_START_MIB}MiB, size=$((EFI_START_MIB - BIOS_START_MIB))MiB, type=21686148-6449-6E6F-744E-656564454649
15: start=${EFI_START_MIB}MiB, size=${EFI_MIB}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
1: start=${ROOT_START_MIB}MiB, size=${ROOT_MIB}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
LAYOUT
    write_bios_boot_loader "$root/boot/grub/i386-pc" "$raw"
    write_efi_boot_loader "$root/boot/grub/x86_64-efi/core.efi" "$raw"
    # GRUB 2.06 refuses a file system with the features that newer e2fsprogs turn on by default.
    mke2fs -q -F -t ext4 -L root -U "$root_uuid" -m 1 \
        -O '^metadata_csum_seed,^orphan_file' \
        -E "offset=$((ROOT_START_MIB * 1024 * 1024)),lazy_itable_init=0,lazy_journal_init=0" \
        -d "$root" "$raw" "$((ROOT_MIB * 1024))k"
}

# What grub-bios-setup does, by GRUB's own offsets (include/grub/i386/pc/boot.h and
# include/grub/offsets.h of GRUB 2.06): boot.img reads core.img's first sector from the 64-bit
# address at 0x5c; that sector (diskboot.img) reads the rest from the block list in its last 12
# bytes, whose length and segment grub-mkimage has filled in.
write_bios_boot_loader() {
    local grub=$1 raw=$2
    local first_sector=$((BIOS_START_MIB * 2048)) boot
    boot=$(mktemp)
    cp "$grub/boot.img" "$boot"
    little_endian_64 "$first_sector" | patch_at $((0x5c)) "$boot"
    # Two no-ops over the jump that trusts the BIOS's drive number: a hard disk, as grub-bios-setup does.
    printf '\x90\x90' | patch_at $((0x66)) "$boot"
    # The first 440 bytes are code; the disk's signature and partition table follow.
    dd if="$boot" of="$raw" bs=440 count=1 conv=notrunc status=none
    rm -f "$boot"
    dd if="$grub/core.img" of="$raw" bs=512 seek="$first_sector" conv=notrunc status=none
    little_endian_64 $((first_sector + 1)) | patch_at $((first_sector * 512 + 0x1f4)) "$raw"
}

write_efi_boot_loader() {
    local efi=$1 raw=$2 partition="$2@@${EFI_START_MIB}M"
    mkfs.vfat -n EFI -F 16 --offset=$((EFI_START_MIB * 2048)) "$raw" $((EFI_MIB * 1024)) >/dev/null
    mmd -i "$partition" ::/EFI ::/EFI/BOOT
    mcopy -i "$partition" "$efi" ::/EFI/BOOT/BOOTX64.EFI
}

little_endian_64() {
    local number=$1 byte
    for byte in 0 8 16 24 32 40 48 56; do
        # shellcheck disable=SC2059 # The format is the escaped byte.
        printf "\\x$(printf '%02x' $((number >> byte & 255)))"
    done
}

# patch_at OFFSET FILE: overwrites bytes from standard input.
patch_at() {
    dd of="$2" bs=1 seek="$1" conv=notrunc status=none
}
